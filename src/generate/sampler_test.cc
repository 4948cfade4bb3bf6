#include "generate/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
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

// The distribution that is left, by sorting everything.
std::vector<double> Kept(const std::vector<float>& logits, const SamplerOptions& options) {
  std::vector<std::pair<double, std::size_t>> all;
  double sum = 0;
  for (std::size_t id = 0; id < logits.size(); ++id) {
    all.emplace_back(-std::exp(static_cast<double>(logits[id] / options.temperature)), id);
    sum -= all.back().first;
  }
  std::sort(all.begin(), all.end());
  if (options.top_k > 0 && options.top_k < all.size()) {
    const double lowest = all[options.top_k - 1].first;
    std::erase_if(all, [&](const auto& each) { return each.first > lowest; });
  }
  double left = 0;
  for (const auto& [p, id] : all) left -= p;
  double before = 0;
  std::vector<double> kept(logits.size());
  double mass = 0;
  for (const auto& [p, id] : all) {
    if (before / left >= options.top_p || -p < options.min_p * -all.front().first) break;
    before -= p;
    kept[id] = -p;
    mass -= p;
  }
  for (double& p : kept) p /= mass;
  return kept;
}

TEST(Sampler, WhatCutsTheDistributionLeavesWhatSortingWould) {
  const std::vector<float> logits = {1.0F, 0.2F, -0.5F, 2.0F, 0.9F, -3.0F, 1.5F, 1.5F};
  for (const SamplerOptions& options :
       std::vector<SamplerOptions>{{.temperature = 1, .top_k = 1},
                                   {.temperature = 1, .top_k = 2},
                                   {.temperature = 1, .top_k = 4},
                                   {.temperature = 2, .top_k = 5, .top_p = 0.5F},
                                   {.temperature = 2, .top_k = 100},
                                   {.temperature = 1, .top_p = 0.5F},
                                   {.temperature = 1, .top_p = 0.97F},
                                   {.temperature = 1, .min_p = 0.3F},
                                   {.temperature = 0.7F, .top_k = 5, .top_p = 0.9F, .min_p = 0.05F},
                                   {.temperature = 1, .top_p = 1e-6F},
                                   {.temperature = 1, .min_p = 1}}) {
    const std::vector<double> kept = Kept(logits, options);
    Sampler sampler(options);
    constexpr int kDraws = 20000;
    std::vector<int> counts(logits.size());
    for (int i = 0; i < kDraws; ++i) {
      std::vector<float> copy = logits;
      ++counts[static_cast<std::size_t>(sampler.Next(copy).value())];
    }
    for (std::size_t id = 0; id < counts.size(); ++id) {
      const double p = kept[id];
      EXPECT_NEAR(counts[id], p * kDraws, 5 * std::sqrt(p * (1 - p) * kDraws)) << id;
    }
  }
}

TEST(Sampler, WhatWasSeenIsPenalizedOnce) {
  Sampler sampler({.repeat_penalty = 1.5F});
  const auto next = [&](std::vector<float> logits) { return sampler.Next(logits).value(); };
  const std::vector<std::int32_t> prompt = {3, 3, -7, 1000};
  sampler.See(prompt);
  EXPECT_EQ(next({1.0F, 2.0F, -1.0F, 2.9F}), 1);     // 2.9 / 1.5 < 2
  EXPECT_EQ(next({1.4F, 2.0F, -1.0F, 2.0F}), 0);     // both penalized
  EXPECT_EQ(next({-1.0F, -1.0F, -1.4F, -9.0F}), 2);  // negative ones are multiplied
  EXPECT_EQ(next({1.0F, 1.0F, 1.0F, 1.6F}), 3);      // all seen: as they were
}

TEST(Sampler, TheColdestTemperaturesAreZero) {
  Sampler sampler({.temperature = 1e-42F});
  EXPECT_EQ(Draw(sampler), 1);
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
