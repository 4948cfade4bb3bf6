#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "model/config_parts.h"

namespace awq::model {
namespace {

constexpr std::size_t kMaxBits = 8;
constexpr std::size_t kMaxGroup = std::size_t{1} << 20;
constexpr std::size_t kMaxExcluded = 16384;

std::string Lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

// AutoAWQ writes `key`; its own quantize() call and older files say `old_key`.
const char* Present(const Fields& fields, const char* key, const char* old_key) {
  return fields.Find(key) == nullptr && fields.Find(old_key) != nullptr ? old_key : key;
}

Result<std::size_t> ParseGroup(const Fields& fields) {
  const char* key = Present(fields, "group_size", "q_group_size");
  const nlohmann::json* value = fields.Find(key);
  if (value != nullptr && *value == -1) return std::size_t{0};
  return fields.Size(key, {1, kMaxGroup});
}

Result<std::vector<std::string>> ParseExcluded(const Fields& fields) {
  std::vector<std::string> names;
  const nlohmann::json* list = fields.Find("modules_to_not_convert");
  if (list == nullptr) return names;
  const bool fits = list->is_array() && list->size() <= kMaxExcluded &&
                    std::all_of(list->begin(), list->end(),
                                [](const nlohmann::json& item) { return item.is_string(); });
  if (!fits) {
    return MakeError(ErrorCode::kCorrupt,
                     "{}: modules_to_not_convert is {}; expected null or a list of at most {} "
                     "strings",
                     fields.place(), Excerpt(*list), kMaxExcluded);
  }
  for (const nlohmann::json& item : *list) names.push_back(item.get<std::string>());
  return names;
}

}  // namespace

Status ParseQuantization(const Fields& fields, ModelConfig& config) {
  const nlohmann::json* object = fields.Find("quantization_config");
  if (object == nullptr) return {};
  const std::string place = fields.place() + ": quantization_config";
  if (!object->is_object()) {
    return MakeError(ErrorCode::kCorrupt, "{} is {}; expected an object", place, Excerpt(*object));
  }
  const Fields quantization(*object, place);
  AWQ_ASSIGN(const std::string method, quantization.String("quant_method"));
  if (method != "awq") {
    return MakeError(ErrorCode::kUnsupported,
                     "{}: the quant_method \"{}\" is not supported (awq is)", place, method);
  }
  AWQ_ASSIGN(const std::string format, quantization.String("format", "gemm"));
  AWQ_ASSIGN(const std::string version, quantization.String("version", format));
  if (Lower(version) != "gemm") {
    return MakeError(ErrorCode::kUnsupported,
                     "{}: the AWQ version \"{}\" is not supported (gemm is)", place, version);
  }
  QuantizationConfig result;
  result.format = "awq-gemm";
  AWQ_ASSIGN(const std::size_t bits,
             quantization.Size(Present(quantization, "bits", "w_bit"), {1, kMaxBits}));
  result.spec.bits = static_cast<int>(bits);
  AWQ_ASSIGN(result.spec.group_size, ParseGroup(quantization));
  AWQ_ASSIGN(const bool zero_point, quantization.Bool("zero_point", true));
  result.spec.symmetric = !zero_point;
  AWQ_ASSIGN(result.modules_to_not_convert, ParseExcluded(quantization));
  config.quantization = std::move(result);
  return {};
}

}  // namespace awq::model
