#include "pack/compressed_tensors_config.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "pack/config_fields.h"

namespace awq::pack {
namespace {

using nlohmann::json;

constexpr const char* kLayout = "pack-quantized";
constexpr std::size_t kMaxGroups = 256;  // config_groups
// A release whose reader knows what is written here; readers refuse none.
constexpr const char* kVersion = "0.19.0";

// A setting that changes what the numbers mean, and that is not served.
Error Unserved(const std::string& place, const char* key, const json& value,
               std::string_view served) {
  return MakeError(ErrorCode::kUnsupported, "{}: {} is {}; only {} is supported", place, key,
                   io::Excerpt(value), served);
}

Status ExpectNothing(const io::Fields& fields, const char* key) {
  const json* value = fields.Find(key);
  if (value == nullptr || value->empty()) return {};
  return Unserved(fields.place(), key, *value, "null");
}

Status ExpectText(const io::Fields& fields, const char* key, const char* expected) {
  AWQ_ASSIGN(const std::string text, fields.String(key, expected));
  if (text == expected) return {};
  return Unserved(fields.place(), key, text, fmt::format("\"{}\"", expected));
}

Result<bool> ReadActOrder(const io::Fields& weights) {
  const json* value = weights.Find("actorder");
  if (value == nullptr || *value == false || *value == "weight" || *value == "static") return false;
  if (*value == true || *value == "group" || *value == "dynamic") return true;
  return Unserved(weights.place(), "actorder", *value, "weight, group or null");
}

Result<quant::Spec> ReadWeights(const io::Fields& weights) {
  quant::Spec spec;
  AWQ_TRY(ExpectText(weights, "type", "int"));
  AWQ_ASSIGN(const std::size_t bits, weights.Size("num_bits", {1, 8}));
  spec.bits = static_cast<int>(bits);
  AWQ_ASSIGN(spec.symmetric, weights.Bool("symmetric", true));
  const json* dynamic = weights.Find("dynamic");
  if (dynamic != nullptr && *dynamic != false) {
    return Unserved(weights.place(), "dynamic", *dynamic, "false");
  }
  AWQ_TRY(ExpectNothing(weights, "block_structure"));
  AWQ_ASSIGN(spec.act_order, ReadActOrder(weights));
  const json* group = weights.Find("group_size");
  const bool is_row = group == nullptr || *group == -1;
  AWQ_ASSIGN(const std::string strategy,
             weights.String("strategy", is_row && group != nullptr ? "channel" : "group"));
  if (strategy != "channel" && strategy != "group") {
    return Unserved(weights.place(), "strategy", strategy, "group or channel");
  }
  if (strategy == "group") {
    AWQ_ASSIGN(spec.group_size, ReadGroupSize(weights, "group_size"));
  } else if (!is_row) {
    return Unserved(weights.place(), "group_size", *group, "null with the strategy channel");
  } else {
    spec.group_size = 0;
  }
  return spec;
}

// "re:" begins a regular expression; Linear is every linear.
Result<std::vector<ModulePattern>> ReadPatterns(const io::Fields& fields, const char* key,
                                                PatternBudget& budget) {
  std::vector<ModulePattern> patterns;
  AWQ_ASSIGN(const std::vector<std::string> names, ReadStrings(fields, key));
  const std::string place = fmt::format("{}: {}", fields.place(), key);
  AWQ_TRY(budget.AddNames(names.size(), place));
  for (const std::string& name : names) {
    if (name == "Linear") {
      patterns.push_back(ModulePattern::Containing(""));
    } else if (!name.starts_with("re:")) {
      patterns.push_back(ModulePattern::Named(name));
    } else {
      AWQ_ASSIGN(ModulePattern pattern, budget.Matching(name.substr(3), place));
      patterns.push_back(std::move(pattern));
    }
  }
  return patterns;
}

Result<QuantizedGroup> ReadGroup(const io::Fields& group, PatternBudget& budget) {
  QuantizedGroup result;
  AWQ_TRY(ExpectText(group, "format", kLayout));
  AWQ_TRY(ExpectNothing(group, "input_activations"));
  AWQ_TRY(ExpectNothing(group, "output_activations"));
  AWQ_ASSIGN(result.targets, ReadPatterns(group, "targets", budget));
  if (result.targets.empty()) {
    return MakeError(ErrorCode::kCorrupt, "{}: targets names nothing", group.place());
  }
  const json* weights = group.Find("weights");
  if (weights == nullptr || !weights->is_object()) {
    return MakeError(ErrorCode::kCorrupt, "{}: weights is missing; expected an object",
                     group.place());
  }
  const std::string place = group.place() + ": weights";
  AWQ_ASSIGN(result.spec, ReadWeights(io::Fields(*weights, place)));
  return result;
}

}  // namespace

Result<std::optional<Quantization>> ReadCompressedTensorsConfig(const io::Fields& fields) {
  AWQ_ASSIGN(const std::string method, fields.String("quant_method"));
  AWQ_ASSIGN(const std::string layout, fields.String("format", ""));
  if (method != "compressed-tensors" || layout != kLayout) return std::optional<Quantization>();
  Quantization result;
  // The releases of 2024 called what they had packed frozen.
  AWQ_ASSIGN(const std::string status, fields.String("quantization_status", "compressed"));
  if (status != "frozen") AWQ_TRY(ExpectText(fields, "quantization_status", "compressed"));
  for (const char* key : {"kv_cache_scheme", "transform_config"}) {
    AWQ_TRY(ExpectNothing(fields, key));
  }
  // Which says "dense", or what pattern the zeros have.
  const json* sparsity = fields.Find("sparsity_config");
  const bool is_dense =
      sparsity != nullptr && sparsity->is_object() && sparsity->value("format", json()) == "dense";
  if (!is_dense) AWQ_TRY(ExpectNothing(fields, "sparsity_config"));
  result.excluded_by = "ignore";
  PatternBudget budget;
  AWQ_ASSIGN(result.excluded, ReadPatterns(fields, "ignore", budget));
  const json* groups = fields.Find("config_groups");
  if (groups == nullptr || !groups->is_object() || groups->empty() || groups->size() > kMaxGroups) {
    return MakeError(ErrorCode::kCorrupt, "{}: config_groups must be an object of 1 to {} schemes",
                     fields.place(), kMaxGroups);
  }
  for (const auto& [name, object] : groups->items()) {
    const std::string place = fmt::format("{}: config_groups: {}", fields.place(), name);
    if (!object.is_object()) {
      return MakeError(ErrorCode::kCorrupt, "{} is {}; expected an object", place,
                       io::Excerpt(object));
    }
    AWQ_ASSIGN(QuantizedGroup group, ReadGroup(io::Fields(object, place), budget));
    result.groups.push_back(std::move(group));
  }
  return std::optional<Quantization>(std::move(result));
}

json WriteCompressedTensorsConfig(const StoredQuantization& stored) {
  const quant::Spec& spec = stored.spec;
  const bool row = spec.group_size == 0;
  std::vector<std::string> ignore = stored.excluded_modules;
  ignore.emplace_back("lm_head");  // a Linear too
  const json weights = {{"num_bits", spec.bits},
                        {"type", "int"},
                        {"symmetric", spec.symmetric},
                        {"strategy", row ? "channel" : "group"},
                        {"group_size", row ? json(nullptr) : json(spec.group_size)},
                        {"dynamic", false},
                        {"actorder", spec.act_order ? json("group") : json(nullptr)},
                        {"block_structure", nullptr},
                        {"observer", nullptr},
                        {"observer_kwargs", json::object()},
                        {"scale_dtype", nullptr},
                        {"zp_dtype", spec.symmetric ? json(nullptr) : json("torch.int8")}};
  return {{"quant_method", "compressed-tensors"},
          {"version", kVersion},
          {"format", kLayout},
          {"quantization_status", "compressed"},
          {"global_compression_ratio", nullptr},
          {"kv_cache_scheme", nullptr},
          {"ignore", ignore},
          {"config_groups",
           {{"group_0",
             {{"targets", {"Linear"}},
              {"weights", weights},
              {"input_activations", nullptr},
              {"output_activations", nullptr},
              {"format", kLayout}}}}},
          {"sparsity_config", json::object()},
          {"transform_config", json::object()}};
}

}  // namespace awq::pack
