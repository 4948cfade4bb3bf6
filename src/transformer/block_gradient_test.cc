#include "transformer/block_gradient.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "testing/random_model.h"
#include "transformer/block.h"
#include "transformer/kv_cache.h"

namespace awq::transformer {
namespace {

using model::Role;

Matrix<float> Normal(std::size_t rows, std::size_t cols, unsigned seed) {
  Matrix<float> m(rows, cols);
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  for (float& x : m.span()) x = normal(random);
  return m;
}

// Every kind of step that a block may have: two shared heads, biases, head norms, a window.
model::ModelConfig ConfigWithEverything() {
  model::ModelConfig config = testing::SmallConfig();
  config.arch = model::FindArch("qwen3");
  config.qkv_bias = true;
  config.sliding_window = {0, 5};
  return config;
}

class BlockTapeTest : public ::testing::Test {
 protected:
  BlockTapeTest() : rope_(config_, 16), tape_(pool_, config_, rope_, 1) {
    unsigned seed = 1;
    for (const model::LinearRow& row : config_.arch->linears) {
      const std::size_t out = model::Width(config_, row.out);
      const std::size_t in = model::Width(config_, row.in);
      Matrix<float> weight = Normal(out, in, seed++);
      for (float& w : weight.span()) w /= std::sqrt(static_cast<float>(in));
      block_.weight(row.role) = std::move(weight);
      const Matrix<float> bias = Normal(1, out, seed++);
      block_.biases[static_cast<std::size_t>(row.role)].assign(bias.span().begin(),
                                                               bias.span().end());
    }
    for (const model::NormRow& row : config_.arch->norms) {
      const Matrix<float> norm = Normal(1, model::Width(config_, row.width), seed++);
      std::vector<float>& to = block_.norms[static_cast<std::size_t>(row.role)];
      for (const float x : norm.span()) to.push_back(1 + x / 4);
    }
    hidden_ = Normal(12, config_.hidden_size, 77);
    direction_ = Normal(12, config_.hidden_size, 78);
  }

  // A loss whose gradient by the output is direction_. It is a sum of outputs times numbers, each
  // of which has gone through some hundred roundings of random sign: noise_ is its deviation.
  double Loss() {
    const MatrixView<const float> output = tape_.Forward(block_, batch_, hidden_);
    double loss = 0;
    double squares = 0;
    for (std::size_t t = 0; t < output.rows; ++t) {
      for (std::size_t c = 0; c < output.cols; ++c) {
        const double term = static_cast<double>(output(t, c)) * direction_(t, c);
        loss += term;
        squares += term * term;
      }
    }
    noise_ = 10 * 0x1p-24 * std::sqrt(squares);
    return loss;
  }

  // The loss's slope along a direction of length 1. A quotient over +-h is off by c h^2 + O(h^4),
  // so that (4 q(h) - q(2 h)) / 3 has only the second.
  double Slope(std::span<float> values, std::span<const double> direction) {
    const std::vector<float> before(values.begin(), values.end());
    const auto quotient = [&](double step) {
      const auto loss_at = [&](double by) {
        for (std::size_t i = 0; i < values.size(); ++i) {
          values[i] = static_cast<float>(before[i] + by * direction[i]);
        }
        return Loss();
      };
      return (loss_at(step) - loss_at(-step)) / (2 * step);
    };
    const double slope = (4 * quotient(kStep) - quotient(2 * kStep)) / 3;
    std::ranges::copy(before, values.begin());
    return slope;
  }

  // Along the gradient's own direction, where all of it counts and the slope is its length, and
  // along single coordinates, which see what stands beside that direction.
  void ExpectGradient(std::span<float> values, std::span<const float> gradient,
                      const std::string& what) {
    ASSERT_EQ(values.size(), gradient.size()) << what;
    std::vector<double> direction(gradient.begin(), gradient.end());
    const double length =
        std::sqrt(std::inner_product(direction.begin(), direction.end(), direction.begin(), 0.0));
    ASSERT_GT(length, 0) << what;
    for (double& d : direction) d /= length;
    const double along = Slope(values, direction);
    // Of four losses, weighed 2 / (3 h) twice and 1 / (12 h) twice: 0.95 deviations by h.
    const double tolerance = 5 * 0.95 * noise_ / kStep;
    EXPECT_NEAR(along, length, tolerance) << what;
    std::mt19937 random(5);
    const auto largest =
        std::ranges::max_element(direction, {}, [](double d) { return std::fabs(d); });
    auto at = static_cast<std::size_t>(largest - direction.begin());
    for (int i = 0; i < kCoordinates; ++i) {
      std::ranges::fill(direction, 0.0);
      direction[at] = 1;
      EXPECT_NEAR(Slope(values, direction), gradient[at], tolerance) << what << " at " << at;
      at = random() % values.size();
    }
  }

  static constexpr double kStep = 0x1p-6;
  static constexpr int kCoordinates = 6;

  ThreadPool pool_{2};
  model::ModelConfig config_ = ConfigWithEverything();
  RopeTable rope_;
  BlockTape tape_;
  BlockParameters block_;
  Batch batch_ = {{.tokens = 9, .position = 0, .slot = 0}, {.tokens = 3, .position = 0, .slot = 1}};
  Matrix<float> hidden_;
  Matrix<float> direction_;
  double noise_ = 0;
};

TEST_F(BlockTapeTest, GivesWhatTheRunnerGives) {
  PreparedBlock prepared;
  for (const model::LinearRow& row : config_.arch->linears) {
    const Matrix<float>& from = block_.weight(row.role);
    Matrix<float> weight(from.rows(), from.cols());
    std::ranges::copy(from.span(), weight.span().begin());
    prepared.linear(row.role) =
        kernels::Linear::FromFloats(pool_, std::move(weight), kernels::Precision::kF32);
    prepared.linear(row.role).set_bias(block_.bias(row.role));
  }
  prepared.norms = block_.norms;
  BlockRunner runner(pool_, config_, rope_, kernels::Precision::kF32);
  KvCache cache(config_, kernels::Precision::kF32, {.layers = 1, .slots = 2, .capacity_tokens = 9});
  Matrix<float> expected(hidden_.rows(), hidden_.cols());
  std::ranges::copy(hidden_.span(), expected.span().begin());
  runner.Run(prepared, {.layer = 1, .cache_layer = 0}, batch_, cache, expected);
  const MatrixView<const float> output = tape_.Forward(block_, batch_, hidden_);
  for (std::size_t t = 0; t < output.rows; ++t) {
    for (std::size_t c = 0; c < output.cols; ++c) {
      // Both sum up to 48 products of about 1 in fp32, in other orders, through four linears.
      EXPECT_NEAR(output(t, c), expected(t, c), 1e-5) << t << ", " << c;
    }
  }
}

TEST_F(BlockTapeTest, GradientsAreThoseOfDifferences) {
  BlockParameters gradient;
  Loss();
  tape_.Backward(block_, direction_, gradient);
  for (const model::LinearRow& row : config_.arch->linears) {
    const auto role = static_cast<std::size_t>(row.role);
    ExpectGradient(block_.weights[role].span(), gradient.weights[role].span(),
                   std::string(row.name));
    ExpectGradient(block_.biases[role], gradient.biases[role], std::string(row.name) + " bias");
  }
  for (const model::NormRow& row : config_.arch->norms) {
    const auto role = static_cast<std::size_t>(row.role);
    ExpectGradient(block_.norms[role], gradient.norms[role], std::string(row.name));
  }
}

}  // namespace
}  // namespace awq::transformer
