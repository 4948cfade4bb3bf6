#include "transformer/block_gradient.h"

#include <gtest/gtest.h>

#include <cmath>
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

  // A loss whose gradient by the output is direction_.
  double Loss() {
    const MatrixView<const float> output = tape_.Forward(block_, batch_, hidden_);
    double loss = 0;
    for (std::size_t t = 0; t < output.rows; ++t) {
      for (std::size_t c = 0; c < output.cols; ++c) {
        loss += static_cast<double>(output(t, c)) * static_cast<double>(direction_(t, c));
      }
    }
    return loss;
  }

  // Moving `values` along a direction changes the loss as the gradient says. The difference
  // quotient over +-h is off by the third derivative times h^2 / 6 and by fp32's rounding of the
  // outputs, 2^-24 sqrt(terms) / h: with h = 2^-8 and directions of unit length both stay below
  // 2e-3 of the gradient's own length.
  void ExpectGradient(std::span<float> values, std::span<const float> gradient,
                      const std::string& what) {
    ASSERT_EQ(values.size(), gradient.size()) << what;
    const Matrix<float> random = Normal(1, values.size(), 5);
    double length = 0;
    double expected = 0;
    double gradient_length = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      length += std::pow(random.span()[i], 2);
      expected += static_cast<double>(random.span()[i]) * static_cast<double>(gradient[i]);
      gradient_length += std::pow(gradient[i], 2);
    }
    length = std::sqrt(length);
    constexpr float kStep = 0x1p-8F;
    const std::vector<float> before(values.begin(), values.end());
    const auto loss_at = [&](float step) {
      for (std::size_t i = 0; i < values.size(); ++i) {
        values[i] = before[i] + step * random.span()[i] / static_cast<float>(length);
      }
      return Loss();
    };
    const double quotient = (loss_at(kStep) - loss_at(-kStep)) / (2 * kStep);
    std::ranges::copy(before, values.begin());
    EXPECT_NEAR(quotient, expected / length, 2e-3 * std::sqrt(gradient_length)) << what;
    EXPECT_GT(gradient_length, 0) << what;
  }

  ThreadPool pool_{2};
  model::ModelConfig config_ = ConfigWithEverything();
  RopeTable rope_;
  BlockTape tape_;
  BlockParameters block_;
  Batch batch_ = {{.tokens = 9, .position = 0, .slot = 0}, {.tokens = 3, .position = 0, .slot = 1}};
  Matrix<float> hidden_;
  Matrix<float> direction_;
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
