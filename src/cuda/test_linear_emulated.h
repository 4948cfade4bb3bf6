// Linears on the emulator.
#pragma once

#include <gtest/gtest.h>

#include <vector>

#include "cuda/emulator.h"
#include "cuda/test_linear.h"

namespace awq::cuda {

// y's bytes of launch(launcher, call, workspace), which returns a Fault.
template <class Launch>
std::vector<unsigned char> RunEmulated(const LinearProblem& problem, const simt::Options& options,
                                       Launch launch) {
  std::vector<unsigned char> y = problem.EmptyOutput();
  std::vector<float> sums(1 << 18, std::numeric_limits<float>::quiet_NaN());
  std::vector<int> arrivals(64);
  LinearCall call;
  call.weights = {problem.row.shape, problem.packed.codes.data(), problem.packed.scales.data(),
                  problem.packed.zeros.data()};
  call.x_type = problem.row.x_type;
  call.x = problem.x.data();
  call.tokens = problem.row.tokens;
  call.y_type = problem.row.y_type;
  call.y = y.data();
  call.y_stride = static_cast<int>(problem.row.y_stride());
  call.bias = problem.row.has_bias ? problem.bias.data() : nullptr;
  const Fault fault =
      launch(simt::EmulatedLauncher(options), call, Workspace{sums.data(), arrivals.data()});
  EXPECT_EQ(fault.message, "") << Describe(problem.row);
  EXPECT_EQ(arrivals, std::vector<int>(64)) << "the next call would not work";
  return y;
}

// Right, and the same bits whoever comes first and whenever copies are done.
template <class Launch>
void ExpectRight(const LinearRow& row, Launch launch) {
  const LinearProblem problem(row);
  const std::vector<unsigned char> y = RunEmulated(problem, {}, launch);
  EXPECT_EQ(Compare(problem, y), "");
  for (const simt::Options& options : {simt::Options{simt::Order::kBackward, true},
                                       simt::Options{simt::Order::kShuffled, false}}) {
    EXPECT_EQ(y, RunEmulated(problem, options, launch)) << Describe(row);
  }
}

}  // namespace awq::cuda
