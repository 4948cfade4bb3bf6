#include "cuda/linear_tile.cuh"

#include <gtest/gtest.h>

#include "cuda/test_linear_emulated.h"

namespace awq::cuda {
namespace {

template <int kTokens>
void ExpectTileRight(const LinearRow& row, int multiprocessors) {
  ExpectRight(row, [&](const auto& launcher, const LinearCall& call, const Workspace& work) {
    return row.x_type == Float::kHalf
               ? LaunchTile<Half, kTokens>(launcher, call, work, multiprocessors)
               : LaunchTile<Bfloat16, kTokens>(launcher, call, work, multiprocessors);
  });
}

TEST(LinearTile, TakesEveryFormat) {
  for (const Float type : {Float::kHalf, Float::kBfloat16}) {
    for (const int bits : {3, 4, 8}) {
      for (const int group : {32, 64, 96, 352}) {
        ExpectTileRight<16>({{136, 352, bits, group}, 11, type}, 1);
      }
    }
  }
}

TEST(LinearTile, TakesEveryTile) {
  for (const int tokens : {1, 16, 17, 40}) {
    ExpectTileRight<16>({{72, 192, 4, 64}, tokens}, 1);
  }
  ExpectTileRight<32>({{200, 160, 4, 32}, 33}, 1);
  ExpectTileRight<64>({{128, 448, 4, 64}, 70, Float::kBfloat16}, 1);
}

TEST(LinearTile, LeavesWhatIsBetweenRows) {
  ExpectTileRight<16>({{72, 192, 4, 64}, 17, Float::kHalf, Float::kHalf, true, 8}, 1);
}

TEST(LinearTile, SharesATileAmongBlocks) {
  for (const int multiprocessors :
       {1, 2, 3}) {  // 2, 4 and 5 parts of 41 units; the last is half one
    ExpectTileRight<16>({{64, 2592, 4, 32}, 9}, multiprocessors);
  }
  ExpectTileRight<16>({{136, 1024, 4, 128}, 18, Float::kHalf, Float::kHalf, true}, 4);
}

}  // namespace
}  // namespace awq::cuda
