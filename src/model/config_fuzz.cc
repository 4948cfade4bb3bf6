// The text of a config.json: an error, or a config whose every number the rest may rely on.
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "io/json.h"
#include "model/arch.h"
#include "model/config.h"

namespace {

void Require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto json = awq::io::ParseJson(text, "fuzz");
  if (!json.ok()) return 0;
  const auto parsed = awq::model::ParseConfig(*json, "fuzz");
  if (!parsed.ok()) return 0;
  const awq::model::ModelConfig& config = *parsed;
  Require(config.arch != nullptr);
  Require(config.num_hidden_layers > 0 && config.num_hidden_layers <= 1024);
  Require(config.num_key_value_heads > 0);
  Require(config.num_attention_heads % config.num_key_value_heads == 0);
  Require(config.head_dim > 0 && config.head_dim <= 1024 && config.head_dim % 2 == 0);
  Require(config.hidden_size > 0 && config.intermediate_size > 0 && config.vocab_size > 0);
  Require(config.vocab_size * config.hidden_size <= std::size_t{1} << 44);
  Require(config.rms_norm_eps > 0 && config.rope_theta > 0 && config.rope_scaling.factor > 0);
  Require(config.sliding_window.size() == config.num_hidden_layers);
  for (const std::int64_t id : config.eos_token_ids) {
    Require(id >= 0 && static_cast<std::size_t>(id) < config.vocab_size);
  }
  return 0;
}
