// From logits to the next token.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "base/random.h"
#include "transformer/draw.h"

namespace awq::generate {

// What transformers' processors of these names do, in its order: repeat_penalty, temperature,
// top_k, top_p, min_p.
struct SamplerOptions {
  float temperature = 0;  // 0 takes the most probable token, the lowest id of equals
  std::size_t top_k = 0;  // only the k most probable, and equals of the k-th; 0: all
  float top_p = 1;        // of these the fewest, most probable first, that have p together
  float min_p = 0;        // of these all that have at least min_p of the most probable one's
  // Logits of tokens that were seen are divided by it where positive, else multiplied (Keskar et
  // al. 2019); also at temperature 0.
  float repeat_penalty = 1;
  std::vector<std::int32_t> banned_tokens = {};  // never drawn
  // So many first tokens are drawn at wide_temperature, so that texts differ from the start.
  std::size_t wide_tokens = 0;
  float wide_temperature = 1;
  std::uint64_t seed = 0;
};

// The tokens of one sequence. Streams of one seed are independent of one another, so what a
// sequence draws does not depend on which others are drawn beside it.
class Sampler {
 public:
  explicit Sampler(const SamplerOptions& options, std::uint64_t stream = 0);

  // Tokens that repeat_penalty is for; those that are drawn are seen by themselves.
  void See(std::span<const std::int32_t> tokens);

  // Draws from softmax(logits / temperature); overwrites `logits` [vocab_size]. One random number a
  // call unless the temperature is 0. Error: no allowed token has a finite logit.
  Result<std::int32_t> Next(std::span<float> logits);

  // What a network needs that draws by itself; valid until the next token. Take is then told what
  // it drew: a token below 0 is Next's error.
  transformer::Draw draw() const;
  Result<std::int32_t> Take(std::int32_t token, std::size_t vocab_size);

 private:
  struct Candidate {
    float probability;
    std::int32_t token;
  };

  float temperature() const {
    return drawn_ < options_.wide_tokens ? options_.wide_temperature : options_.temperature;
  }
  void Penalize(std::span<float> logits) const;
  // The token where the sum of the probabilities up to it passes `mass`.
  static std::int32_t Pick(std::span<const float> probabilities, double mass, std::size_t best);
  std::int32_t PickOfSome(std::span<const float> probabilities, double share, std::size_t best);
  bool cuts() const { return options_.top_k > 0 || options_.top_p < 1 || options_.min_p > 0; }

  SamplerOptions options_;
  Random random_;
  std::size_t drawn_ = 0;           // tokens so far
  std::vector<std::int32_t> seen_;  // sorted, if there is a penalty
  std::vector<Candidate> candidates_;
};

}  // namespace awq::generate
