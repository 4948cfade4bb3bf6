#include "cuda/linear_stream.cuh"

#include <gtest/gtest.h>

#include "cuda/test_linear_emulated.h"

namespace awq::cuda {
namespace {

void ExpectStreamRight(const LinearRow& row, int multiprocessors) {
  ExpectRight(row, [&](const auto& launcher, const LinearCall& call, const Workspace& work) {
    return row.x_type == Float::kHalf
               ? LaunchStream<Half>(launcher, call, work, multiprocessors)
               : LaunchStream<Bfloat16>(launcher, call, work, multiprocessors);
  });
}

TEST(LinearStream, TakesEveryFormat) {
  for (const Float type : {Float::kHalf, Float::kBfloat16}) {
    for (const int bits : {3, 4, 8}) {
      for (const int group : {32, 64, 96, 128, 352}) {
        ExpectStreamRight({{136, 352, bits, group}, 3, type}, 1);
      }
    }
  }
}

TEST(LinearStream, TakesEveryBatch) {
  for (int tokens = 1; tokens <= 8; ++tokens) {
    ExpectStreamRight({{64, 256, 4, 128}, tokens}, 1);
  }
}

TEST(LinearStream, CutsTheLineAnywhere) {
  // Panels that one block has whole, that two share, that many do; blocks of several panels.
  for (const int multiprocessors : {1, 2, 3, 5}) {
    ExpectStreamRight({{200, 1024, 4, 128}, 2}, multiprocessors);
    ExpectStreamRight({{64, 2080, 4, 32}, 2}, multiprocessors);
    ExpectStreamRight({{1000, 64, 4, 64}, 2}, multiprocessors);
  }
  ExpectStreamRight({{8, 32, 4, 32}, 1}, 132);
}

TEST(LinearStream, LeavesWhatIsBetweenRows) {
  ExpectStreamRight({{72, 128, 4, 64}, 5, Float::kHalf, Float::kSingle, true, 24}, 1);
}

TEST(LinearStream, RoundsAndAddsABias) {
  for (const Float type : {Float::kHalf, Float::kBfloat16}) {
    ExpectStreamRight({{72, 128, 4, 64}, 5, type, type, true}, 1);
    ExpectStreamRight({{72, 128, 4, 64}, 5, type, Float::kSingle, true}, 1);
  }
}

}  // namespace
}  // namespace awq::cuda
