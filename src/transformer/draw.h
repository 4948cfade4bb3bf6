// How a sequence's next token is drawn, for a network that does it where its logits are. What the
// fields mean, generate/sampler.h says.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace awq::transformer {

struct Draw {
  float temperature = 0;
  std::size_t top_k = 0;
  float top_p = 1;
  float min_p = 0;
  float repeat_penalty = 1;
  std::size_t wide_tokens = 0;
  float wide_temperature = 1;
  std::size_t drawn = 0;                      // tokens so far
  std::uint64_t random_state = 0;             // of base/random.h
  std::span<const std::int32_t> seen = {};    // that repeat_penalty is for
  std::span<const std::int32_t> banned = {};  // never drawn
};

}  // namespace awq::transformer
