#include "model/arch/llama_family.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "io/fields.h"

namespace awq::model::llama_family {
namespace {

constexpr std::size_t kMaxWindow = std::size_t{1} << 26;
constexpr std::size_t kMaxLayerIndex = std::size_t{1} << 20;
constexpr std::size_t kDefaultWindow = 4096;     // of Qwen2Config and Qwen3Config
constexpr std::size_t kDefaultFirstWindow = 28;  // likewise

}  // namespace

Result<std::vector<bool>> SlidingLayers(const nlohmann::json& json, const std::string& name,
                                        std::size_t layers) {
  std::vector<bool> sliding;
  const nlohmann::json* list = io::Fields(json, name).Find("layer_types");
  if (list == nullptr) return sliding;
  if (!list->is_array() || list->size() != layers) {
    return MakeError(ErrorCode::kCorrupt,
                     "{}: layer_types is {}; expected a list of {} names, one a layer", name,
                     io::Excerpt(*list), layers);
  }
  for (const nlohmann::json& type : *list) {
    if (type != "sliding_attention" && type != "full_attention") {
      return MakeError(ErrorCode::kUnsupported,
                       "{}: layer_types holds {}; full_attention and sliding_attention are "
                       "supported",
                       name, io::Excerpt(type));
    }
    sliding.push_back(type == "sliding_attention");
  }
  return sliding;
}

Status ParseQwenWindows(const nlohmann::json& json, const std::string& name, ModelConfig& config) {
  const io::Fields fields(json, name);
  AWQ_ASSIGN(const bool use, fields.Bool("use_sliding_window", false));
  AWQ_ASSIGN(const std::vector<bool> sliding, SlidingLayers(json, name, config.num_hidden_layers));
  AWQ_ASSIGN(const std::size_t first,
             fields.Size("max_window_layers", {0, kMaxLayerIndex}, kDefaultFirstWindow));
  // An explicit null is "no window", an absent member the default.
  const bool is_null = json.contains("sliding_window") && json["sliding_window"].is_null();
  std::size_t window = 0;
  if (use && !is_null) {
    AWQ_ASSIGN(window, fields.Size("sliding_window", {1, kMaxWindow}, kDefaultWindow));
  }
  for (std::size_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    const bool slides = sliding.empty() ? window > 0 && layer >= first : sliding[layer];
    if (slides && window == 0) {
      return MakeError(ErrorCode::kCorrupt,
                       "{}: layer_types lets layer {} slide, but there is no sliding_window in use",
                       name, layer);
    }
    config.sliding_window[layer] = slides ? window : 0;
  }
  return {};
}

}  // namespace awq::model::llama_family
