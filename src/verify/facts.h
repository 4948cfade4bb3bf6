// All that a verdict depends on: what config.json and the files' headers say. No weight is read.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/stored_model.h"
#include "model/arch.h"
#include "pack/format.h"

namespace awq::verify {

inline constexpr std::string_view kGguf = "gguf";
inline constexpr std::size_t kGgufBlock = 32;   // elements, of the blocks that awq writes there
inline constexpr std::string_view kPlain = "";  // floats in safetensors

struct LinearFacts {
  std::string module;
  model::Role role = model::Role::kQ;
  std::size_t out_features = 0;
  std::size_t in_features = 0;
  std::optional<quant::Spec> spec;  // group_size 0: the whole row; nothing where not packed
  std::size_t block_elements = 1;   // of a row, that a file keeps together: 32 or 256 in GGUF

  pack::Form form() const { return {out_features, in_features, *spec}; }
};

struct ModelFacts {
  model::ModelConfig config;
  nlohmann::json json;  // config.json; of a GGUF, what its metadata say
  std::string_view format = kPlain;
  std::optional<pack::Quantization> quantization;
  bool has_tokenizer = true;  // tokenizer.json, or a GGUF's
  // What has it instead of config.json ("quant_config.json"); `json` has it nevertheless.
  std::string older_file;
  // Of a GGUF, where its linears are blocks of one type whose codes other formats hold.
  std::optional<quant::Spec> blocks;
  std::vector<LinearFacts> linears;  // of all layers, in the order of the architecture's table

  std::size_t linears_a_layer() const { return config.arch->linears.size(); }
  const nlohmann::json& quantization_json() const { return json.at("quantization_config"); }
};

Result<ModelFacts> GatherFacts(const checkpoint::StoredModel& model);
// The same of a config.json alone; every linear is as it says. `name` stands in errors.
Result<ModelFacts> FactsOfConfig(nlohmann::json json, const std::string& name);

// Makes of a model what `awq convert --format gguf` writes of it. Error: a linear has no type
// there.
Status PutIntoGguf(ModelFacts& facts);

}  // namespace awq::verify
