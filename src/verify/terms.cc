#include "verify/terms.h"

#include <algorithm>

#include "base/error.h"

namespace awq::verify {
namespace {

using nlohmann::json;

template <class Range>
std::string Listed(const Range& values) {
  return fmt::format("{}", fmt::join(values, ", "));
}

bool Contains(const auto& values, const auto& value) {
  return std::ranges::find(values, value) != std::ranges::end(values);
}

std::string GroupSize(std::size_t group_size) {
  return group_size == 0 ? "-1" : std::to_string(group_size);
}

// "a|b" of JSON pointers: one of them is there, and not null.
bool HasKey(const json& object, std::string_view alternatives) {
  while (!alternatives.empty()) {
    const std::string_view key = alternatives.substr(0, alternatives.find('|'));
    alternatives.remove_prefix(std::min(alternatives.size(), key.size() + 1));
    const json::json_pointer pointer{std::string(key)};
    if (object.contains(pointer) && !object.at(pointer).is_null()) return true;
  }
  return false;
}

std::string KeyName(std::string_view alternatives) {
  std::string name(alternatives.substr(1, alternatives.find('|') - 1));
  std::ranges::replace(name, '/', '.');
  return name;
}

// The first linear of each kind of quantization; the rest would only repeat it.
std::vector<const LinearFacts*> Distinct(const ModelFacts& facts) {
  std::vector<const LinearFacts*> distinct;
  for (const LinearFacts& linear : facts.linears) {
    const bool known = std::ranges::any_of(
        distinct, [&](const LinearFacts* other) { return other->spec == linear.spec; });
    if (linear.spec && !known) distinct.push_back(&linear);
  }
  return distinct;
}

// What a missing key would say.
std::string ValueOf(std::string_view key, const ModelFacts& facts) {
  const quant::Spec& spec = facts.quantization->groups.front().spec;
  if (key == "bits") return std::to_string(spec.bits);
  if (key == "group_size") return GroupSize(spec.group_size);
  if (key == "zero_point") return spec.symmetric ? "false" : "true";
  if (key == "sym") return spec.symmetric ? "true" : "false";
  if (key == "desc_act") return spec.act_order ? "true" : "false";
  return key == "version" ? "\"gemm\"" : "\"pack-quantized\"";
}

std::string Bits(const quant::Spec& spec) {
  return fmt::format("{} bits, {}", spec.bits, spec.symmetric ? "symmetric" : "with zero points");
}

std::string TakenBits(const Terms& terms) {
  if (terms.symmetric_bits == terms.asymmetric_bits) {
    return fmt::format("{} bits", Listed(terms.symmetric_bits));
  }
  std::string text;
  if (!terms.symmetric_bits.empty()) {
    text = fmt::format("{} bits symmetric", Listed(terms.symmetric_bits));
  }
  if (!terms.asymmetric_bits.empty()) {
    text += fmt::format("{}{} bits with zero points", text.empty() ? "" : ", or ",
                        Listed(terms.asymmetric_bits));
  }
  return text;
}

void CheckSpec(const Terms& terms, const LinearFacts& linear, std::vector<Finding>& findings) {
  const quant::Spec& spec = *linear.spec;
  if (!Contains(spec.symmetric ? terms.symmetric_bits : terms.asymmetric_bits, spec.bits)) {
    findings.push_back({linear.module, TakenBits(terms), Bits(spec), ""});
  }
  if (!terms.group_sizes.empty() && !Contains(terms.group_sizes, spec.group_size)) {
    std::vector<std::string> sizes;
    for (const std::size_t size : terms.group_sizes) sizes.push_back(GroupSize(size));
    findings.push_back(
        {linear.module, "group_size " + Listed(sizes), GroupSize(spec.group_size), ""});
  }
  // With whole rows there is nothing to order.
  if (spec.act_order && !terms.act_order && spec.group_size != 0) {
    findings.push_back({linear.module, "groups of neighbours", "act order", ""});
  }
}

}  // namespace

std::vector<Finding> CheckModel(const Reader& reader, const ModelFacts& facts) {
  std::vector<Finding> findings;
  const model::ModelConfig& config = facts.config;
  if (!Contains(reader.model_types, std::string_view(config.model_type))) {
    findings.push_back({"config.json: model_type", Listed(reader.model_types), config.model_type,
                        "none: the program does not know this architecture"});
  }
  if (!reader.head_dims.empty() && !Contains(reader.head_dims, config.head_dim)) {
    findings.push_back({"config.json: head_dim", Listed(reader.head_dims),
                        std::to_string(config.head_dim), "none: it has no kernel for it"});
  }
  if (!facts.older_file.empty()) {
    findings.push_back({"config.json: quantization_config", "the object",
                        "it is in " + facts.older_file,
                        fmt::format("awq convert MODEL -o OUT --format {}", facts.format)});
  }
  if (reader.wants_architectures && facts.format != kGguf &&
      !HasKey(facts.json, "/architectures")) {
    findings.push_back({"config.json: architectures", "the name of the model's class", "nothing",
                        "add what the original model's config.json has"});
  }
  return findings;
}

std::vector<Finding> CheckNumbers(const Terms& terms, const ModelFacts& facts) {
  std::vector<Finding> findings;
  const auto distinct = Distinct(facts);
  for (const LinearFacts* linear : distinct) CheckSpec(terms, *linear, findings);
  if (terms.one_spec && distinct.size() > 1) {
    findings.push_back({distinct[1]->module, "the bits and groups of " + distinct[0]->module,
                        fmt::format("{}, group_size {}", Bits(*distinct[1]->spec),
                                    GroupSize(distinct[1]->spec->group_size)),
                        ""});
  }
  for (const LinearFacts& linear : facts.linears) {
    if (!linear.spec || linear.out_features % terms.out_multiple == 0) continue;
    findings.push_back({linear.module,
                        fmt::format("out_features a multiple of {}", terms.out_multiple),
                        std::to_string(linear.out_features), ""});
    break;
  }
  for (const char* key : {"dtype", "torch_dtype"}) {
    if (!terms.not_bfloat16 || facts.json.value(key, json()) != "bfloat16") continue;
    findings.push_back({fmt::format("config.json: {}", key), "float16", "bfloat16",
                        "give the program --dtype float16"});
    break;
  }
  return findings;
}

std::vector<Finding> CheckKeys(const Terms& terms, const ModelFacts& facts) {
  std::vector<Finding> findings;
  for (const std::string_view key : terms.keys) {
    if (HasKey(facts.quantization_json(), key)) continue;
    const std::string name = KeyName(key);
    findings.push_back({"config.json: quantization_config", name, "nothing",
                        fmt::format("write \"{}\": {} there", name, ValueOf(name, facts))});
  }
  return findings;
}

}  // namespace awq::verify
