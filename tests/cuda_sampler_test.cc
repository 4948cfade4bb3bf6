// The device's sampler, emulated, gives the CPU's tokens from equal logits.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "cuda/emulator.h"
#include "cuda/sample.cuh"
#include "generate/sampler.h"

namespace awq {
namespace {

struct Case {
  generate::SamplerOptions options;
  std::size_t vocab = 0;
  float deviation = 3;
  float step = 0;  // logits are rounded to it: there are equal ones
};

std::vector<float> RandomLogits(const Case& is, std::mt19937& random) {
  std::normal_distribution<float> normal(0, is.deviation);
  std::vector<float> logits(is.vocab);
  for (float& each : logits) {
    each = normal(random);
    if (is.step > 0) each = std::round(each / is.step) * is.step;
  }
  return logits;
}

class DeviceSampler {
 public:
  DeviceSampler(const Case& is, std::uint64_t stream)
      : vocab_(is.vocab),
        state_{.temperature = is.options.temperature,
               .top_p = is.options.top_p,
               .min_p = is.options.min_p,
               .repeat_penalty = is.options.repeat_penalty,
               .top_k = static_cast<std::int32_t>(is.options.top_k),
               .wide_tokens = static_cast<std::int32_t>(is.options.wide_tokens),
               .wide_temperature = is.options.wide_temperature,
               .random = cuda::FirstRandom(is.options.seed, stream)},
        seen_((is.vocab + 31) / 32),
        banned_(seen_.size()) {
    for (const std::int32_t token : is.options.banned_tokens) {
      banned_[static_cast<std::size_t>(token) / 32] |= 1U << (token % 32);
    }
  }

  std::int32_t Next(std::vector<float> logits) {
    std::int32_t token = -2;
    cuda::SampleTask task;
    task.logits = logits.data();
    task.vocab = static_cast<int>(vocab_);
    task.rows = 1;
    task.states = &state_;
    task.seen = seen_.data();
    task.banned = banned_.data();
    task.tokens = &token;
    const cuda::Fault fault = LaunchSample(cuda::simt::EmulatedLauncher(), task);
    EXPECT_FALSE(fault) << fault.message;
    return token;
  }

 private:
  std::size_t vocab_;
  cuda::SampleState state_;
  std::vector<std::uint32_t> seen_, banned_;
};

void ExpectSameTokens(const Case& is, int draws) {
  std::mt19937 random(3);
  constexpr std::uint64_t kStream = 7;
  generate::Sampler expected(is.options, kStream);
  DeviceSampler found(is, kStream);
  for (int i = 0; i < draws; ++i) {
    std::vector<float> logits = RandomLogits(is, random);
    const std::int32_t token = found.Next(logits);
    const auto wanted = expected.Next(logits);
    ASSERT_TRUE(wanted);
    EXPECT_EQ(token, *wanted) << "draw " << i;
  }
}

TEST(CudaSampler, TakesTheSameBest) {
  ExpectSameTokens({{}, 777, 3, 0.5F}, 5);
  ExpectSameTokens({{.repeat_penalty = 1.3F, .banned_tokens = {3, 40}}, 64, 1, 0.25F}, 20);
}

TEST(CudaSampler, DrawsTheSameOfAll) {
  ExpectSameTokens({{.temperature = 1}, 9001}, 10);
  ExpectSameTokens({{.temperature = 0.3F, .seed = 4}, 1, 1}, 3);
  ExpectSameTokens({{.temperature = 7, .seed = 5}, 4097, 1}, 10);
  ExpectSameTokens({{.temperature = 0.5F, .wide_tokens = 3, .wide_temperature = 4}, 500}, 6);
}

TEST(CudaSampler, DrawsTheSameOfSome) {
  ExpectSameTokens({{.temperature = 1, .top_k = 50}, 5003}, 10);
  ExpectSameTokens({{.temperature = 1, .top_k = 5}, 300, 3, 1}, 10);
  ExpectSameTokens({{.temperature = 1, .top_p = 0.9F}, 5003}, 10);
  ExpectSameTokens({{.temperature = 1, .top_p = 0.9F}, 700, 3, 0.5F}, 10);
  ExpectSameTokens({{.temperature = 1, .top_p = 0}, 100}, 5);
  ExpectSameTokens({{.temperature = 2, .min_p = 0.05F}, 1000}, 10);
  ExpectSameTokens({{.temperature = 1.2F, .top_k = 64, .top_p = 0.8F, .min_p = 0.02F}, 2000}, 10);
  ExpectSameTokens({{.temperature = 1, .top_k = 2000, .top_p = 0.999F}, 1999, 1e-4F}, 10);
}

}  // namespace
}  // namespace awq
