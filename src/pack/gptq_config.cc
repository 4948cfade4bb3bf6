#include "pack/gptq_config.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "pack/config_fields.h"

namespace awq::pack {
namespace {

using nlohmann::json;

constexpr std::string_view kExcludes = "-:";  // begins a rule that leaves modules in 16 bits

// GPTQModel's rules per module: of these, only what is not quantized at all.
Result<std::vector<ModulePattern>> ReadDynamic(const io::Fields& fields) {
  std::vector<ModulePattern> patterns;
  const json* rules = fields.Find("dynamic");
  if (rules == nullptr) return patterns;
  if (!rules->is_object() || rules->size() > kMaxExpressions) {
    return MakeError(ErrorCode::kUnsupported, "{}: dynamic must be an object of at most {} rules",
                     fields.place(), kMaxExpressions);
  }
  PatternBudget budget;
  for (const auto& [rule, settings] : rules->items()) {
    if (!rule.starts_with(kExcludes)) {
      return MakeError(ErrorCode::kUnsupported,
                       "{}: dynamic has the rule \"{}\", other settings for some modules; only "
                       "rules that begin with -: (not quantized) are supported",
                       fields.place(), rule.substr(0, 60));
    }
    AWQ_ASSIGN(ModulePattern pattern,
               budget.Matching(std::string_view(rule).substr(kExcludes.size()),
                               fields.place() + ": dynamic"));
    patterns.push_back(std::move(pattern));
  }
  return patterns;
}

// Dots of a module's name stand for themselves.
std::string Escaped(std::string_view name) {
  std::string escaped;
  for (const char c : name) {
    if (c == '.') escaped += '\\';
    escaped += c;
  }
  return escaped;
}

}  // namespace

Result<std::optional<Quantization>> ReadGptqConfig(const io::Fields& fields,
                                                   std::string_view checkpoint_format) {
  AWQ_ASSIGN(const std::string method, fields.String("quant_method"));
  AWQ_ASSIGN(const std::string format, fields.String("format", "gptq"));
  AWQ_ASSIGN(const std::string stated, fields.String("checkpoint_format", format));
  if (method != "gptq" || stated != checkpoint_format) return std::optional<Quantization>();
  AWQ_ASSIGN(const bool marlin, fields.Bool("is_marlin_format", false));
  AWQ_ASSIGN(const bool head, fields.Bool("lm_head", false));
  AWQ_ASSIGN(const std::string words, fields.String("pack_dtype", "int32"));
  if (marlin || head || words != "int32") {
    return MakeError(ErrorCode::kUnsupported,
                     "{}: is_marlin_format {}, lm_head {}, pack_dtype {}; only false, false and "
                     "int32 are supported",
                     fields.place(), marlin, head, words);
  }
  quant::Spec spec;
  AWQ_ASSIGN(const std::size_t bits, fields.Size("bits", {1, 8}));
  spec.bits = static_cast<int>(bits);
  AWQ_ASSIGN(spec.group_size, ReadGroupSize(fields, "group_size"));
  AWQ_ASSIGN(spec.symmetric, fields.Bool("sym", true));
  AWQ_ASSIGN(spec.act_order, fields.Bool("desc_act", false));
  Quantization result;
  result.groups.push_back({{}, spec});
  result.excluded_by = "dynamic";
  AWQ_ASSIGN(result.excluded, ReadDynamic(fields));
  return std::optional<Quantization>(std::move(result));
}

json WriteGptqConfig(const StoredQuantization& stored, std::string_view checkpoint_format) {
  json config = {{"quant_method", "gptq"},
                 {"checkpoint_format", checkpoint_format},
                 {"bits", stored.spec.bits},
                 {"group_size", GroupSizeForConfig(stored.spec.group_size)},
                 {"sym", stored.spec.symmetric},
                 {"desc_act", stored.spec.act_order},
                 {"lm_head", false},
                 {"pack_dtype", "int32"}};
  for (const std::string& ending : stored.excluded_endings) {
    config["dynamic"][fmt::format("{}.*{}$", kExcludes, Escaped(ending))] = json::object();
  }
  return config;
}

}  // namespace awq::pack
