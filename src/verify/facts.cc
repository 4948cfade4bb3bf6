#include "verify/facts.h"

#include <utility>

#include "base/error.h"
#include "checkpoint/gguf_model.h"
#include "io/json.h"
#include "pack/ggml_blocks.h"

namespace awq::verify {

namespace {

Status AddLinears(ModelFacts& facts) {
  if (facts.quantization) facts.format = facts.quantization->format->name;
  const model::ArchSpec& arch = *facts.config.arch;
  for (std::size_t layer = 0; layer < facts.config.num_hidden_layers; ++layer) {
    for (const model::LinearRow& row : arch.linears) {
      LinearFacts linear;
      linear.module = model::ModuleName(arch, layer, row.name);
      linear.role = row.role;
      linear.out_features = model::Width(facts.config, row.out);
      linear.in_features = model::Width(facts.config, row.in);
      if (facts.quantization) {
        AWQ_ASSIGN(const quant::Spec* spec, facts.quantization->SpecOf(linear.module));
        if (spec != nullptr) linear.spec = *spec;
      }
      facts.linears.push_back(std::move(linear));
    }
  }
  return {};
}

Status AddOlderQuantization(const checkpoint::StoredModel& model, ModelFacts& facts) {
  facts.quantization = model.quantization();
  for (const char* name : {"quantize_config.json", "quant_config.json"}) {
    AWQ_ASSIGN(const auto text, model.SmallFile(name));
    if (!text) continue;
    facts.older_file = name;
    AWQ_ASSIGN(facts.json["quantization_config"], io::ParseJson(*text, name));
    return {};
  }
  return {};
}

Result<ModelFacts> ReadConfig(nlohmann::json json, const std::string& name) {
  ModelFacts facts;
  AWQ_ASSIGN(facts.config, model::ParseConfig(json, name));
  AWQ_ASSIGN(facts.quantization, pack::ReadQuantization(json, name));
  facts.json = std::move(json);
  return facts;
}

}  // namespace

Result<ModelFacts> FactsOfConfig(nlohmann::json json, const std::string& name) {
  AWQ_ASSIGN(ModelFacts facts, ReadConfig(std::move(json), name));
  AWQ_TRY(AddLinears(facts));
  return facts;
}

Status PutIntoGguf(ModelFacts& facts) {
  facts.format = kGguf;
  facts.quantization.reset();
  for (LinearFacts& linear : facts.linears) {
    if (!linear.spec) continue;
    AWQ_TRY(pack::BlockTypeOf(*linear.spec, linear.in_features, linear.module));
    linear.spec.reset();
    linear.block_elements = kGgufBlock;
  }
  return {};
}

Result<ModelFacts> GatherFacts(const checkpoint::StoredModel& model) {
  const std::string name = model.path().string();
  AWQ_ASSIGN(const auto text, model.SmallFile("config.json"));
  AWQ_ASSIGN(nlohmann::json json, io::ParseJson(text.value_or(""), name));
  AWQ_ASSIGN(ModelFacts facts, ReadConfig(std::move(json), name));
  if (model.quantization() && !facts.quantization) AWQ_TRY(AddOlderQuantization(model, facts));
  AWQ_TRY(AddLinears(facts));
  for (LinearFacts& linear : facts.linears) {
    const auto form = model.ConvertedForm(linear.module);
    if (!form) continue;
    facts.format = kGguf;
    linear.block_elements = form->block_elements;
  }
  if (const auto* gguf = dynamic_cast<const checkpoint::GgufModel*>(&model)) {
    if (const auto spec = gguf->BlocksSpec(); spec.ok()) facts.blocks = *spec;
  } else {
    AWQ_ASSIGN(const auto tokenizer, model.SmallFile("tokenizer.json"));
    facts.has_tokenizer = tokenizer.has_value();
  }
  return facts;
}

}  // namespace awq::verify
