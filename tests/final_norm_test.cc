#include "pipeline/final_norm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "pipeline/hidden_store.h"
#include "testing/random_model.h"

namespace awq::pipeline {
namespace {

constexpr std::size_t kTokens = 300;  // more than are loaded at once

class RefitNormTest : public ::testing::Test {
 protected:
  RefitNormTest() {
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    for (float& x : original_.span()) x = normal(random);
    for (std::size_t i = 0; i < quantized_.size(); ++i) {
      quantized_.span()[i] = original_.span()[i] + 0.3F * normal(random);
    }
    for (float& w : weight_) w = 1 + 0.2F * normal(random);
  }

  HiddenStore Stored(const Matrix<float>& states) {
    HiddenStore store =
        HiddenStore::Create(math::Precision::kF32, kTokens, config_.hidden_size).value();
    store.Store(pool_, 0, states);
    return store;
  }

  // What the head reads of the original, and of the other with `weight`: sum over tokens of the
  // squared difference in one channel, by the definition of the norm, in double.
  double Missing(const std::vector<float>& weight, std::size_t channel) const {
    double sum = 0;
    for (std::size_t t = 0; t < kTokens; ++t) {
      const auto normed = [&](const Matrix<float>& states) {
        double square = 0;
        for (std::size_t c = 0; c < config_.hidden_size; ++c) {
          square += std::pow(static_cast<double>(states(t, c)), 2);
        }
        const double mean = square / static_cast<double>(config_.hidden_size);
        return static_cast<double>(states(t, channel)) / std::sqrt(mean + config_.rms_norm_eps);
      };
      sum += std::pow(normed(original_) * static_cast<double>(weight_[channel]) -
                          normed(quantized_) * static_cast<double>(weight[channel]),
                      2);
    }
    return sum;
  }

  ThreadPool pool_{2};
  model::ModelConfig config_ = testing::SmallConfig();
  Matrix<float> original_{kTokens, config_.hidden_size};
  Matrix<float> quantized_{kTokens, config_.hidden_size};
  std::vector<float> weight_ = std::vector<float>(config_.hidden_size);
};

TEST_F(RefitNormTest, IsTheLeastOfSquares) {
  std::vector<float> refitted = weight_;
  RefitNorm(pool_, config_, kTokens, Stored(original_), Stored(quantized_), refitted);
  for (std::size_t c = 0; c < config_.hidden_size; ++c) {
    const double least = Missing(refitted, c);
    EXPECT_LT(least, Missing(weight_, c)) << c;
    // A parabola: to both sides alike.
    for (const float factor : {0.99F, 1.01F}) {
      std::vector<float> moved = refitted;
      moved[c] *= factor;
      EXPECT_LT(least, Missing(moved, c)) << c;
    }
  }
}

TEST_F(RefitNormTest, LeavesAModelThatLostNothing) {
  std::vector<float> refitted = weight_;
  RefitNorm(pool_, config_, kTokens, Stored(original_), Stored(original_), refitted);
  EXPECT_EQ(refitted, weight_);
}

}  // namespace
}  // namespace awq::pipeline
