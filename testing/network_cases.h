// What tests of whole networks run, on whatever device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "model/arch.h"
#include "model/config.h"

namespace awq::testing {

// Of a vocabulary of 50.
inline std::vector<std::int32_t> Tokens(std::size_t n, std::uint32_t seed) {
  std::vector<std::int32_t> tokens;
  for (std::size_t i = 0; i < n; ++i) {
    seed = seed * 1664525U + 1013904223U;
    tokens.push_back(static_cast<std::int32_t>((seed >> 16) % 50));
  }
  return tokens;
}

struct Variant {
  const char* name;
  std::function<void(model::ModelConfig&)> change;
};

// `window`: that the second block of one of them sees.
inline std::vector<Variant> Variants(std::size_t window) {
  return {
      {"plain", [](auto&) {}},
      {"window",
       [window](auto& config) {
         config.sliding_window = {0, window};
       }},
      {"qk_norm",
       [](auto& config) {
         config.arch = model::FindArch("qwen3");
         config.qk_norm = true;
       }},
      {"bias", [](auto& config) { config.qkv_bias = config.o_bias = config.mlp_bias = true; }},
      {"tied, one kv head",
       [](auto& config) {
         config.tie_word_embeddings = true;
         config.num_key_value_heads = 1;
       }},
  };
}

}  // namespace awq::testing
