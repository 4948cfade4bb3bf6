#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "io/fields.h"
#include "model/arch/llama_family.h"

namespace awq::model {
namespace {

constexpr std::size_t kMaxWindow = std::size_t{1} << 26;
constexpr std::size_t kDefaultWindow = 4096;  // of MistralConfig, whose kv heads default to 8
constexpr std::size_t kDefaultKvHeads = 8;

Status MistralTraits(const nlohmann::json& json, const std::string& name, ModelConfig& config) {
  if (!json.contains("num_key_value_heads")) config.num_key_value_heads = kDefaultKvHeads;
  const bool is_null = json.contains("sliding_window") && json["sliding_window"].is_null();
  if (is_null) return {};
  AWQ_ASSIGN(const std::size_t window,
             io::Fields(json, name).Size("sliding_window", {1, kMaxWindow}, kDefaultWindow));
  AWQ_ASSIGN(const std::vector<bool> sliding,
             llama_family::SlidingLayers(json, name, config.num_hidden_layers));
  if (std::find(sliding.begin(), sliding.end(), false) != sliding.end()) {
    return MakeError(ErrorCode::kUnsupported,
                     "{}: a mistral model with full_attention layers beside a sliding_window is "
                     "not supported",
                     name);
  }
  config.sliding_window.assign(config.num_hidden_layers, window);
  return {};
}

}  // namespace

extern const ArchSpec kArchMistral;
constexpr ArchSpec kArchMistral = llama_family::Spec("mistral", MistralTraits);

}  // namespace awq::model
