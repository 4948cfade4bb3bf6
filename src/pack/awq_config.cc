#include "pack/awq_config.h"

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "pack/config_fields.h"
#include "pack/scales.h"

namespace awq::pack {
namespace {

std::string Lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

// AutoAWQ writes `key`; its own quantize() call and older files say `old_key`.
const char* Present(const io::Fields& fields, const char* key, const char* old_key) {
  return fields.Find(key) == nullptr && fields.Find(old_key) != nullptr ? old_key : key;
}

}  // namespace

Result<std::optional<Quantization>> ReadAwqConfig(const io::Fields& fields,
                                                  std::string_view version) {
  AWQ_ASSIGN(const std::string method, fields.String("quant_method"));
  if (method != "awq") return std::optional<Quantization>();
  AWQ_ASSIGN(const std::string format, fields.String("format", "gemm"));  // transformers 5
  AWQ_ASSIGN(const std::string backend, fields.String("backend", ""));
  AWQ_ASSIGN(const std::string stated,
             backend == "llm-awq" ? backend : fields.String("version", format));
  if (Lower(stated) != version) return std::optional<Quantization>();
  Quantization result;
  quant::Spec spec;
  AWQ_ASSIGN(const std::size_t bits, fields.Size(Present(fields, "bits", "w_bit"), {1, 8}));
  spec.bits = static_cast<int>(bits);
  AWQ_ASSIGN(spec.group_size, ReadGroupSize(fields, Present(fields, "group_size", "q_group_size")));
  AWQ_ASSIGN(const bool zero_point, fields.Bool("zero_point", true));
  spec.symmetric = !zero_point;
  result.groups.push_back({{}, spec});
  result.excluded_by = "modules_to_not_convert";
  AWQ_ASSIGN(const auto excluded, ReadStrings(fields, "modules_to_not_convert"));
  for (const std::string& part : excluded) {
    result.excluded.push_back(ModulePattern::Containing(part));
  }
  return std::optional<Quantization>(std::move(result));
}

nlohmann::json WriteAwqConfig(const StoredQuantization& stored, std::string_view version) {
  const auto& excluded = stored.excluded_endings;
  return {{"quant_method", "awq"},
          {"bits", stored.spec.bits},
          {"group_size", GroupSizeForConfig(stored.spec.group_size)},
          {"zero_point", !stored.spec.symmetric},
          {"version", version},
          {"modules_to_not_convert",
           excluded.empty() ? nlohmann::json(nullptr) : nlohmann::json(excluded)}};
}

std::string RefusesForAwq(const quant::Spec& spec) {
  if (spec.act_order) return "it has no place for a group index (act order)";
  if (!IsHalf(spec.scale_dtype)) {
    return fmt::format("its scales have 16 bits, not {}", DTypeName(spec.scale_dtype));
  }
  return "";
}

}  // namespace awq::pack
