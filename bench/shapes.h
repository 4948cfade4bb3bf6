// Shapes of well-known models, for benchmarks that make random weights of them in memory.
#pragma once

#include <awq/result.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "model/config.h"

namespace awq::bench {

struct NamedShape {
  const char* name;
  const char* arch;
  std::size_t hidden, intermediate, layers, heads, kv_heads, head_dim, vocab;
};

inline constexpr std::array<NamedShape, 4> kShapes = {{
    {"llama-2-7b", "llama", 4096, 11008, 32, 32, 32, 128, 32000},
    {"llama-3.1-8b", "llama", 4096, 14336, 32, 32, 8, 128, 128256},
    {"tinyllama", "llama", 2048, 5632, 22, 32, 4, 64, 32000},
    {"tiny", "llama", 128, 256, 2, 4, 2, 32, 256},
}};

inline std::vector<std::string> ShapeNames() {
  std::vector<std::string> names;
  for (const NamedShape& each : kShapes) names.emplace_back(each.name);
  return names;
}

// One of ShapeNames().
inline const NamedShape& FindShape(std::string_view name) {
  return *std::ranges::find_if(kShapes, [&](const NamedShape& each) { return each.name == name; });
}

// What config.json would say. `layers` instead of the shape's; 0: those.
inline std::string ConfigText(const NamedShape& shape, std::size_t layers) {
  const nlohmann::json config = {{"model_type", shape.arch},
                                 {"hidden_size", shape.hidden},
                                 {"intermediate_size", shape.intermediate},
                                 {"num_hidden_layers", layers == 0 ? shape.layers : layers},
                                 {"num_attention_heads", shape.heads},
                                 {"num_key_value_heads", shape.kv_heads},
                                 {"head_dim", shape.head_dim},
                                 {"vocab_size", shape.vocab},
                                 {"max_position_embeddings", 1 << 20},
                                 {"tie_word_embeddings", false}};
  return config.dump();
}

inline Result<model::ModelConfig> MakeConfig(const NamedShape& shape, std::size_t layers) {
  return model::ParseConfig(nlohmann::json::parse(ConfigText(shape, layers)), shape.name);
}

}  // namespace awq::bench
