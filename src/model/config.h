// What config.json says of the model, checked. How its weights are quantized: pack/quantization.h.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

namespace awq::model {

struct ArchSpec;

struct RopeScaling {
  enum class Kind : std::uint8_t { kNone, kLinear, kLlama3 };
  Kind kind = Kind::kNone;
  double factor = 1;
  double low_freq_factor = 1;                           // llama3
  double high_freq_factor = 4;                          // llama3
  std::size_t original_max_position_embeddings = 8192;  // llama3
};

struct ModelConfig {
  const ArchSpec* arch = nullptr;
  std::string model_type;
  std::size_t hidden_size = 0;
  std::size_t intermediate_size = 0;
  std::size_t num_hidden_layers = 0;
  std::size_t num_attention_heads = 0;
  std::size_t num_key_value_heads = 0;
  std::size_t head_dim = 0;
  std::size_t vocab_size = 0;
  std::size_t max_position_embeddings = 0;
  double rms_norm_eps = 1e-6;
  double rope_theta = 10000;
  RopeScaling rope_scaling;
  bool tie_word_embeddings = false;
  bool qkv_bias = false;
  bool o_bias = false;
  bool mlp_bias = false;
  bool qk_norm = false;                     // an RMS norm over head_dim after q and k
  std::vector<std::size_t> sliding_window;  // per layer, in tokens; 0 is full attention
  std::optional<std::int64_t> bos_token_id;
  std::vector<std::int64_t> eos_token_ids;

  std::size_t q_width() const { return num_attention_heads * head_dim; }
  std::size_t kv_width() const { return num_key_value_heads * head_dim; }
};

// `name` (the path of config.json) stands in errors. An unknown model_type, activation or rope
// type is refused by name. Limits: docs/limits.md.
Result<ModelConfig> ParseConfig(const nlohmann::json& json, const std::string& name);

}  // namespace awq::model
