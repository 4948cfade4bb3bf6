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

namespace {

Result<Quantization> ReadObject(const nlohmann::json& object, const std::string& place) {
  if (!object.is_object()) {
    return MakeError(ErrorCode::kCorrupt, "{} is {}; expected an object", place,
                     io::Excerpt(object));
  }
  const io::Fields quantization(object, place);
  AWQ_ASSIGN(const std::string method, quantization.String("quant_method"));
  for (const Format& format : Formats()) {
    AWQ_ASSIGN(std::optional<Quantization> read, format.read_config(quantization));
    if (!read) continue;
    read->format = &format;
    return std::move(*read);
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

}  // namespace

Result<std::optional<Quantization>> ReadQuantization(const nlohmann::json& config,
                                                     const std::string& name) {
  const nlohmann::json* object = io::Fields(config, name).Find("quantization_config");
  if (object == nullptr) return std::optional<Quantization>();
  AWQ_ASSIGN(Quantization read, ReadObject(*object, name + ": quantization_config"));
  return std::optional<Quantization>(std::move(read));
}

Result<Quantization> ReadQuantizationFile(nlohmann::json file, const std::string& name) {
  if (file.is_object() && !file.contains("quant_method")) {
    const bool is_awq = file.contains("zero_point") || file.contains("w_bit");
    file["quant_method"] = is_awq ? "awq" : "gptq";
  }
  return ReadObject(file, name);
}

}  // namespace awq::pack
