#include "generate/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace awq::generate {
namespace {

const std::vector<float> kLogits = {0.5F, 2.0F, -1.0F, 2.0F, 0.0F};

std::int32_t Draw(Sampler& sampler) {
  std::vector<float> logits = kLogits;
  const auto token = sampler.Next(logits);
  EXPECT_TRUE(token);
  return token ? *token : -1;
}

TEST(Sampler, TemperatureZeroTakesTheLowestOfTheBest) {
  Sampler sampler({});
  for (int i = 0; i < 10; ++i) EXPECT_EQ(Draw(sampler), 1);
  Sampler without({.banned_tokens = {1}});
  EXPECT_EQ(Draw(without), 3);
}

TEST(Sampler, DrawsAsOftenAsTheSoftmaxSays) {
  for (float temperature : {0.5F, 1.0F, 3.0F}) {
    std::vector<double> probabilities;
    double sum = 0;
    for (float logit : kLogits) {
      probabilities.push_back(std::exp(static_cast<double>(logit / temperature)));
      sum += probabilities.back();
    }
    Sampler sampler({.temperature = temperature, .seed = 5});
    constexpr int kDraws = 40000;
    std::vector<int> counts(kLogits.size());
    for (int i = 0; i < kDraws; ++i) ++counts[static_cast<std::size_t>(Draw(sampler))];
    for (std::size_t id = 0; id < counts.size(); ++id) {
      const double p = probabilities[id] / sum;
      EXPECT_NEAR(counts[id], p * kDraws, 5 * std::sqrt(p * (1 - p) * kDraws)) << id;
    }
  }
}

TEST(Sampler, BannedTokensAreNeverDrawnAndForeignOnesIgnored) {
  Sampler sampler({.temperature = 10, .banned_tokens = {1, 3, -5, 1000000}});
  for (int i = 0; i < 2000; ++i) {
    const std::int32_t token = Draw(sampler);
    EXPECT_TRUE(token == 0 || token == 2 || token == 4) << token;
  }
}

TEST(Sampler, ASeedAndAStreamFixWhatIsDrawn) {
  const auto draws = [](std::uint64_t seed, std::uint64_t stream) {
    Sampler sampler({.temperature = 2, .seed = seed}, stream);
    std::vector<std::int32_t> tokens;
    for (int i = 0; i < 50; ++i) tokens.push_back(Draw(sampler));
    return tokens;
  };
  EXPECT_EQ(draws(1, 2), draws(1, 2));
  EXPECT_NE(draws(1, 2), draws(1, 3));
  EXPECT_NE(draws(1, 2), draws(2, 2));
}

TEST(Sampler, LogitsThatAreNotFiniteAreAnError) {
  for (float bad : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    for (std::size_t at : {0U, 2U}) {
      std::vector<float> logits = kLogits;
      logits[at] = bad;
      Sampler sampler({.temperature = 1});
      const auto token = sampler.Next(logits);
      ASSERT_FALSE(token);
      EXPECT_EQ(token.error().code, ErrorCode::kCorrupt);
    }
  }
  std::vector<float> logits = kLogits;
  Sampler nothing_left({.banned_tokens = {0, 1, 2, 3, 4}});
  EXPECT_FALSE(nothing_left.Next(logits));
}

}  // namespace
}  // namespace awq::generate
