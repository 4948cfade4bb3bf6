#include "cuda/linear_stream.cuh"

#include <gtest/gtest.h>

#include <vector>

#include "cuda/test_linear.h"

namespace awq::cuda {
namespace {

using simt::EmulatedLauncher;
using simt::Options;
using simt::Order;

constexpr int kMostBlocks = 64, kMostPanels = 64;

// y's bytes, of a launch on a device of so many multiprocessors.
std::vector<unsigned char> Run(const LinearProblem& problem, int multiprocessors,
                               const Options& options) {
  std::vector<unsigned char> y = problem.EmptyOutput();
  std::vector<float> sums(kMostBlocks * 2 * kStreamSums, std::numeric_limits<float>::quiet_NaN());
  std::vector<int> arrivals(kMostPanels);
  LinearCall call;
  call.weights = {problem.row.shape, problem.packed.codes.data(), problem.packed.scales.data(),
                  problem.packed.zeros.data()};
  call.x_type = problem.row.x_type;
  call.x = problem.x.data();
  call.tokens = problem.row.tokens;
  call.y_type = problem.row.y_type;
  call.y = y.data();
  call.bias = problem.row.has_bias ? problem.bias.data() : nullptr;
  const EmulatedLauncher launcher(options);
  const Workspace work{sums.data(), arrivals.data()};
  const Fault fault = problem.row.x_type == Float::kHalf
                          ? LaunchStream<Half>(launcher, call, work, multiprocessors)
                          : LaunchStream<Bfloat16>(launcher, call, work, multiprocessors);
  EXPECT_EQ(fault.message, "") << Describe(problem.row);
  EXPECT_EQ(arrivals, std::vector<int>(kMostPanels)) << "the next call would not work";
  return y;
}

void ExpectRight(const LinearRow& row, int multiprocessors) {
  const LinearProblem problem(row);
  const std::vector<unsigned char> y = Run(problem, multiprocessors, {});
  EXPECT_EQ(Compare(problem, y), "");
  for (const Order order : {Order::kBackward, Order::kShuffled}) {
    EXPECT_EQ(y, Run(problem, multiprocessors, {order, false})) << Describe(row);
  }
}

TEST(LinearStream, TakesEveryFormat) {
  for (const Float type : {Float::kHalf, Float::kBfloat16}) {
    for (const int bits : {3, 4, 8}) {
      for (const int group : {32, 64, 96, 128, 352}) {
        ExpectRight({{136, 352, bits, group}, 3, type}, 1);
      }
    }
  }
}

TEST(LinearStream, TakesEveryBatch) {
  for (int tokens = 1; tokens <= 8; ++tokens) {
    ExpectRight({{64, 256, 4, 128}, tokens}, 1);
  }
}

TEST(LinearStream, CutsTheLineAnywhere) {
  // Panels that one block has whole, that two share, that many do; blocks of several panels.
  for (const int multiprocessors : {1, 2, 3, 5}) {
    ExpectRight({{200, 1024, 4, 128}, 2}, multiprocessors);
    ExpectRight({{64, 2080, 4, 32}, 2}, multiprocessors);
    ExpectRight({{1000, 64, 4, 64}, 2}, multiprocessors);
  }
  ExpectRight({{8, 32, 4, 32}, 1}, 132);
}

TEST(LinearStream, RoundsAndAddsABias) {
  for (const Float type : {Float::kHalf, Float::kBfloat16}) {
    ExpectRight({{72, 128, 4, 64}, 5, type, type, true}, 1);
    ExpectRight({{72, 128, 4, 64}, 5, type, Float::kSingle, true}, 1);
  }
}

}  // namespace
}  // namespace awq::cuda
