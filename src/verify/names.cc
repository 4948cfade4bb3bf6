// Which linears are left in 16 bits, as each reader understands what config.json says.
#include <algorithm>
#include <array>
#include <span>

#include "base/error.h"
#include "pack/config_fields.h"
#include "verify/terms.h"

namespace awq::verify {
namespace {

using model::Role;
using nlohmann::json;

// What readers compute as one linear.
struct FusedLinear {
  std::string_view name;  // in place of its first part's
  std::string_view first_part;
  std::span<const Role> parts;
};

constexpr std::array kQkv = {Role::kQ, Role::kK, Role::kV};
constexpr std::array kGateUp = {Role::kGate, Role::kUp};
constexpr std::array<FusedLinear, 2> kFused = {
    {{"gate_up_proj", "gate_proj", kGateUp}, {"qkv_proj", "q_proj", kQkv}}};

std::vector<const LinearFacts*> PartsOf(const FusedLinear& fused,
                                        std::span<const LinearFacts> layer) {
  std::vector<const LinearFacts*> parts;
  for (const LinearFacts& linear : layer) {
    if (std::ranges::count(fused.parts, linear.role) > 0) parts.push_back(&linear);
  }
  return parts;
}

std::vector<std::span<const LinearFacts>> Layers(const ModelFacts& facts) {
  std::vector<std::span<const LinearFacts>> layers;
  const std::span all(facts.linears);
  for (std::size_t first = 0; first < all.size(); first += facts.linears_a_layer()) {
    layers.push_back(all.subspan(first, facts.linears_a_layer()));
  }
  return layers;
}

std::string FusedName(const FusedLinear& fused, std::string_view first) {
  std::string name(first);
  const std::size_t at = name.rfind(fused.first_part);
  if (at != name.npos) name.replace(at, fused.first_part.size(), fused.name);
  return name;
}

std::string StoredAs(const LinearFacts& linear) {
  if (!linear.spec) return "in 16 bits";
  return fmt::format("{} bits in groups of {}", linear.spec->bits,
                     linear.spec->group_size == 0 ? linear.in_features : linear.spec->group_size);
}

// A fused linear in 16 bits that is excluded by the names of its parts only.
Result<std::vector<Finding>> CheckFusedNames(const ModelFacts& facts) {
  std::vector<Finding> findings;
  for (const FusedLinear& fused : kFused) {
    for (const auto layer : Layers(facts)) {
      const auto parts = PartsOf(fused, layer);
      if (parts.empty() || parts.front()->spec) continue;
      const std::string name = FusedName(fused, parts.front()->module);
      AWQ_ASSIGN(const quant::Spec* spec, facts.quantization->SpecOf(name));
      if (spec == nullptr) continue;
      const bool dynamic = facts.quantization->excluded_by == "dynamic";
      findings.push_back({"config.json: quantization_config: " + facts.quantization->excluded_by,
                          fmt::format("something that names {}, in 16 bits", name),
                          "the names of its parts",
                          dynamic ? fmt::format("add \"-:.*{}$\": {{}} to it", fused.name)
                                  : fmt::format("add \"{}\" to it", fused.name)});
      break;
    }
  }
  return findings;
}

// As transformers asks whether a module is converted: not if its name ends with a pattern, or if
// the pattern matches its beginning, up to a dot or the whole.
class TransformersNames {
 public:
  static Result<TransformersNames> Of(std::vector<std::string> patterns) {
    TransformersNames names;
    pack::PatternBudget budget;
    for (std::string& pattern : patterns) {
      if (pattern.find_first_of("\\^$*+?()[]{}|") != pattern.npos) {
        AWQ_ASSIGN(auto expression,
                   budget.Matching(fmt::format("(?:{})(?:(?<=\\.)|(?=\\.|$))", pattern),
                                   "modules_to_not_convert"));
        names.expressions_.push_back(std::move(expression));
      }
      names.plain_.push_back(std::move(pattern));
    }
    return names;
  }

  Result<bool> Exclude(const std::string& module) const {
    for (const std::string& name : plain_) {
      if (module.ends_with(name)) return true;
      if (module.starts_with(name) && (name.ends_with('.') || module[name.size()] == '.')) {
        return true;
      }
    }
    for (const pack::ModulePattern& expression : expressions_) {
      AWQ_ASSIGN(const bool matches, expression.Matches(module));
      if (matches) return true;
    }
    return false;
  }

 private:
  std::vector<std::string> plain_;
  std::vector<pack::ModulePattern> expressions_;
};

std::vector<std::string> Strings(const json& value) {
  std::vector<std::string> strings;
  if (value.is_string()) return {value.get<std::string>()};
  if (!value.is_array()) return {};
  for (const json& each : value) {
    for (std::string& text : Strings(each)) strings.push_back(std::move(text));
  }
  return strings;
}

// The first linear that the reader would look for in another form than it has.
Finding Misread(const LinearFacts& linear, std::string_view key, std::string mend) {
  return {linear.module,
          fmt::format("{} by {}", linear.spec ? "16 bits" : "a quantized linear", key),
          StoredAs(linear), std::move(mend)};
}

Result<std::vector<Finding>> CheckTransformersNames(const ModelFacts& facts) {
  const char* key = "modules_to_not_convert";
  AWQ_ASSIGN(const auto names,
             TransformersNames::Of(Strings(facts.quantization_json().value(key, json()))));
  for (const LinearFacts& linear : facts.linears) {
    AWQ_ASSIGN(const bool excluded, names.Exclude(linear.module));
    if (excluded != linear.spec.has_value()) continue;
    return std::vector{Misread(
        linear, key,
        fmt::format(
            "write the ends of names there, \"{}\"",
            linear.module.substr(linear.module.rfind('.', linear.module.rfind('.') - 1) + 1)))};
  }
  return std::vector<Finding>();
}

// optimum quantizes what modules_in_block_to_quantize names, or everything; no other key is read.
std::vector<Finding> CheckOptimumNames(const ModelFacts& facts) {
  const char* key = "modules_in_block_to_quantize";
  const json value = facts.quantization_json().value(key, json());
  const std::vector<std::string> kept = Strings(value);
  for (const LinearFacts& linear : facts.linears) {
    const bool quantized =
        value.is_null() || std::ranges::any_of(kept, [&](const std::string& name) {
          return linear.module.ends_with(name);
        });
    if (quantized == linear.spec.has_value()) continue;
    std::vector<std::string> names;  // of the first layer
    const std::span<const LinearFacts> first = Layers(facts).front();
    for (const LinearFacts& each : first) {
      const std::size_t layer = each.module.find(".0.");
      if (each.spec && layer != each.module.npos) {
        names.push_back(fmt::format("\"{}\"", each.module.substr(layer + 3)));
      }
    }
    return {Misread(linear, key,
                    fmt::format("write \"{}\": [[{}]] there", key, fmt::join(names, ", ")))};
  }
  return {};
}

}  // namespace

Result<std::vector<Finding>> CheckNames(const Terms& terms, const ModelFacts& facts) {
  if (!facts.quantization) return std::vector<Finding>();
  switch (terms.names) {
    case Names::kFused:
      return CheckFusedNames(facts);
    case Names::kTransformers:
      return CheckTransformersNames(facts);
    case Names::kOptimum:
      return CheckOptimumNames(facts);
    case Names::kOurs:
      break;
  }
  return std::vector<Finding>();
}

std::vector<Finding> CheckAlike(const Terms& terms, const ModelFacts& facts) {
  std::vector<Finding> findings;
  if (terms.alike == Alike::kNothing) return findings;
  for (const FusedLinear& fused : kFused) {
    if (terms.alike == Alike::kGateUp && fused.parts.size() != kGateUp.size()) continue;
    for (const auto layer : Layers(facts)) {
      const auto parts = PartsOf(fused, layer);
      const auto other = std::ranges::find_if(
          parts, [&](const LinearFacts* part) { return part->spec != parts.front()->spec; });
      if (other == parts.end()) continue;
      findings.push_back({(*other)->module,
                          fmt::format("as {}, with which it is fused: {}", parts.front()->module,
                                      StoredAs(*parts.front())),
                          StoredAs(**other), ""});
      break;
    }
  }
  return findings;
}

}  // namespace awq::verify
