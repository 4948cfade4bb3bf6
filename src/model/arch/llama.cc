#include <nlohmann/json.hpp>

#include "base/error.h"
#include "io/fields.h"
#include "model/arch/llama_family.h"

namespace awq::model {
namespace {

Status LlamaTraits(const nlohmann::json& json, const std::string& name, ModelConfig& config) {
  const io::Fields fields(json, name);
  AWQ_ASSIGN(config.qkv_bias, fields.Bool("attention_bias", false));
  config.o_bias = config.qkv_bias;
  AWQ_ASSIGN(config.mlp_bias, fields.Bool("mlp_bias", false));
  return {};
}

}  // namespace

extern const ArchSpec kArchLlama;
constexpr ArchSpec kArchLlama = llama_family::Spec("llama", LlamaTraits);

}  // namespace awq::model
