// What the layout of a warpgroup's registers and of shared memory rests on is said in
// emulator_async_test.cc.
#include "cuda/linear_wgmma.cuh"

#include <gtest/gtest.h>

#include "cuda/test_linear_emulated.h"

namespace awq::cuda {
namespace {

template <int kTokens>
void ExpectWgmmaRight(const LinearRow& row, int multiprocessors) {
  ExpectRight(row, [&](const auto& launcher, const LinearCall& call, const Workspace& work) {
    return row.x_type == Float::kHalf
               ? LaunchWgmma<Half, kTokens>(launcher, call, work, multiprocessors)
               : LaunchWgmma<Bfloat16, kTokens>(launcher, call, work, multiprocessors);
  });
}

// Input k of a unit is where weights.h says that A has it: product j, register r, lane t.
TEST(LinearWgmma, PutsPairsWhereTheWeightsAre) {
  for (const int token : {0, 1, 7, 8, 21}) {
    for (int k = 0; k < kUnitInputs; k += 2) {
      const int t = k % 32 / 8, j = 2 * (k / 32) + k % 8 / 4, half = k % 4 / 2;
      const int along_k = 16 * j + 8 * half + 2 * t;  // of B
      const int bytes = token * 128 + ((along_k / 8 ^ token % 8) * 16) + along_k % 8 * 2;
      EXPECT_EQ(PairPlace(token, k / 2) * 4, bytes) << token << " " << k;
    }
  }
}

TEST(LinearWgmma, TakesEveryFormat) {
  for (const Float type : {Float::kHalf, Float::kBfloat16}) {
    for (const int bits : {3, 4, 8}) {
      for (const int group : {32, 64, 96, 352}) {
        ExpectWgmmaRight<16>({{136, 352, bits, group}, 11, type}, 1);
      }
    }
  }
}

TEST(LinearWgmma, TakesEveryTile) {
  for (const int tokens : {1, 16, 17, 40}) {
    ExpectWgmmaRight<16>({{72, 192, 4, 64}, tokens}, 1);
  }
  ExpectWgmmaRight<32>({{200, 160, 4, 32}, 33}, 1);
  ExpectWgmmaRight<64>({{128, 448, 4, 64}, 70, Float::kBfloat16}, 1);
  ExpectWgmmaRight<128>({{136, 704, 4, 128}, 130}, 1);
  ExpectWgmmaRight<128>({{64, 96, 8, 32}, 121, Float::kBfloat16}, 1);
}

TEST(LinearWgmma, GoesRoundTheRing) {  // of 16 and of 8 stages
  ExpectWgmmaRight<16>({{64, 64 * 35, 4, 128}, 3}, 1);
  ExpectWgmmaRight<64>({{64, 64 * 19 + 32, 3, 32}, 3}, 1);
  ExpectWgmmaRight<16>({{8, 32, 4, 32}, 3}, 1);
}

TEST(LinearWgmma, LeavesWhatIsBetweenRows) {
  ExpectWgmmaRight<16>({{72, 192, 4, 64}, 17, Float::kHalf, Float::kHalf, true, 8}, 1);
}

TEST(LinearWgmma, SharesATileAmongBlocks) {
  for (const int multiprocessors : {2, 4, 6}) {  // 2, 4 and 5 parts of 41 units
    ExpectWgmmaRight<16>({{64, 2592, 4, 32}, 9}, multiprocessors);
  }
  ExpectWgmmaRight<16>({{136, 1024, 4, 128}, 18, Float::kHalf, Float::kHalf, true}, 8);
}

}  // namespace
}  // namespace awq::cuda
