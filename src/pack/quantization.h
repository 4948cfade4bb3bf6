// How the weights of a directory are quantized: what quantization_config of config.json says, in
// whichever producer's dialect.
#pragma once

#include <awq/result.h>

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "pack/module_pattern.h"
#include "quant/quantized_linear.h"

namespace awq::pack {

struct Format;

struct QuantizedGroup {
  std::vector<ModulePattern> targets;  // empty: every linear
  quant::Spec spec;                    // group_size 0 stands for the whole row
};

struct Quantization {
  const Format* format = nullptr;
  std::vector<QuantizedGroup> groups;   // the first that names a module is its own
  std::vector<ModulePattern> excluded;  // modules that are not quantized
  std::string excluded_by;              // the member of config.json that says so, for errors

  // nullptr for a module in 16 bits. Error: a pattern that costs too much.
  Result<const quant::Spec*> SpecOf(std::string_view module) const;
  // The one spec of all, or nullptr.
  const quant::Spec* spec() const { return groups.size() == 1 ? &groups[0].spec : nullptr; }
};

// What a writer tells config.json.
struct StoredQuantization {
  quant::Spec spec;  // group_size 0 stands for the whole row
  // The linears in 16 bits: their full names, and the shortest list that names them by how they
  // end ("mlp.down_proj" is all layers').
  std::vector<std::string> excluded_modules;
  std::vector<std::string> excluded_endings;
};

// Nothing where `config` (a whole config.json) has no quantization_config. `name` is its path, for
// errors. Unknown producers, formats, and settings that would change the meaning are refused.
Result<std::optional<Quantization>> ReadQuantization(const nlohmann::json& config,
                                                     const std::string& name);

// A file of its own beside config.json, as AutoGPTQ (quantize_config.json) and AutoAWQ
// (quant_config.json) had it at first: the object itself, often without the producer's name.
Result<Quantization> ReadQuantizationFile(nlohmann::json file, const std::string& name);

}  // namespace awq::pack
