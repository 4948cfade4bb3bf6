#include <nlohmann/json.hpp>

#include "base/error.h"
#include "io/fields.h"
#include "model/arch/llama_family.h"

namespace awq::model {
namespace {

constexpr std::size_t kDefaultKvHeads = 32;  // of Qwen3Config
constexpr std::size_t kDefaultHeadDim = 128;

Status Qwen3Traits(const nlohmann::json& json, const std::string& name, ModelConfig& config) {
  if (!json.contains("num_key_value_heads")) config.num_key_value_heads = kDefaultKvHeads;
  if (!json.contains("head_dim")) config.head_dim = kDefaultHeadDim;
  config.qk_norm = true;
  AWQ_ASSIGN(config.qkv_bias, io::Fields(json, name).Bool("attention_bias", false));
  config.o_bias = config.qkv_bias;
  return llama_family::ParseQwenWindows(json, name, config);
}

}  // namespace

extern const ArchSpec kArchQwen3;
constexpr ArchSpec kArchQwen3 = llama_family::Spec("qwen3", Qwen3Traits);

}  // namespace awq::model
