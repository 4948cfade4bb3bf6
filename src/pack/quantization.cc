#include "pack/quantization.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "pack/format.h"

namespace awq::pack {

Result<const quant::Spec*> Quantization::SpecOf(std::string_view module) const {
  const quant::Spec* none = nullptr;
  for (const ModulePattern& pattern : excluded) {
    AWQ_ASSIGN(const bool matches, pattern.Matches(module));
    if (matches) return none;
  }
  for (const QuantizedGroup& group : groups) {
    if (group.targets.empty()) return &group.spec;
    for (const ModulePattern& pattern : group.targets) {
      AWQ_ASSIGN(const bool matches, pattern.Matches(module));
      if (matches) return &group.spec;
    }
  }
  return none;
}

Result<std::optional<Quantization>> ReadQuantization(const nlohmann::json& config,
                                                     const std::string& name) {
  const io::Fields fields(config, name);
  const nlohmann::json* object = fields.Find("quantization_config");
  if (object == nullptr) return std::optional<Quantization>();
  const std::string place = name + ": quantization_config";
  if (!object->is_object()) {
    return MakeError(ErrorCode::kCorrupt, "{} is {}; expected an object", place,
                     io::Excerpt(*object));
  }
  const io::Fields quantization(*object, place);
  AWQ_ASSIGN(const std::string method, quantization.String("quant_method"));
  for (const Format& format : Formats()) {
    AWQ_ASSIGN(std::optional<Quantization> read, format.read_config(quantization));
    if (!read) continue;
    read->format = &format;
    return read;
  }
  const auto text = [&](const char* key) {
    const nlohmann::json* value = quantization.Find(key);
    return value == nullptr ? std::string() : fmt::format(", {} {}", key, io::Excerpt(*value));
  };
  return MakeError(ErrorCode::kUnsupported,
                   "{}: the quant_method \"{}\"{}{}{} is not supported; these formats are: {}",
                   place, method, text("version"), text("format"), text("checkpoint_format"),
                   FormatNames());
}

}  // namespace awq::pack
