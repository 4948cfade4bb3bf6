// From logits to the next token.
#pragma once

#include <awq/result.h>

#include <cstdint>
#include <span>
#include <vector>

#include "base/random.h"

namespace awq::generate {

struct SamplerOptions {
  float temperature = 0;  // 0 takes the most probable token, the lowest id of equals
  std::vector<std::int32_t> banned_tokens = {};  // never drawn
  std::uint64_t seed = 0;
};

// The tokens of one sequence. Streams of one seed are independent of one another, so what a
// sequence draws does not depend on which others are drawn beside it.
class Sampler {
 public:
  explicit Sampler(const SamplerOptions& options, std::uint64_t stream = 0);

  // Draws from softmax(logits / temperature); overwrites `logits` [vocab_size]. One random number a
  // call unless the temperature is 0. Error: no allowed token has a finite logit.
  Result<std::int32_t> Next(std::span<float> logits) { return Next(logits, temperature_); }
  Result<std::int32_t> Next(std::span<float> logits, float temperature);

 private:
  float temperature_;
  std::vector<std::int32_t> banned_tokens_;
  Random random_;
};

}  // namespace awq::generate
