#include <nlohmann/json.hpp>

#include "model/arch/llama_family.h"

namespace awq::model {
namespace {

constexpr std::size_t kDefaultKvHeads = 32;  // of Qwen2Config

Status Qwen2Traits(const nlohmann::json& json, const std::string& name, ModelConfig& config) {
  if (!json.contains("num_key_value_heads")) config.num_key_value_heads = kDefaultKvHeads;
  config.qkv_bias = true;
  return llama_family::ParseQwenWindows(json, name, config);
}

}  // namespace

extern const ArchSpec kArchQwen2;
constexpr ArchSpec kArchQwen2 = llama_family::Spec("qwen2", Qwen2Traits);

}  // namespace awq::model
