#include "api/ranks.h"

#include <nlohmann/json.hpp>
#include <span>

#include "api/formats.h"
#include "api/runtime.h"
#include "base/error.h"
#include "checkpoint/padded_model.h"
#include "checkpoint/tensor_parallel.h"
#include "pipeline/directory_files.h"
#include "verify/judge.h"

namespace awq::api {

Result<std::unique_ptr<checkpoint::StoredModel>> ForRanks(
    std::unique_ptr<checkpoint::StoredModel> model, std::size_t ranks, pipeline::PlanOptions& plan,
    const Runtime& runtime) {
  const model::ModelConfig& config = model->config();
  if (!plan.group_size) plan.group_size = pipeline::DefaultGroupSize(config);
  AWQ_ASSIGN(const std::size_t size,
             checkpoint::SharedIntermediateSize(config, ranks, *plan.group_size));
  if (size == config.intermediate_size) {
    Note(runtime, fmt::format("--tp-pad {}: nothing to do, intermediate_size {} can be shared",
                              ranks, size));
    return model;
  }
  Note(runtime, fmt::format("intermediate_size {} -> {}, filled up with zeros for {} rank{}",
                            config.intermediate_size, size, ranks, ranks == 1 ? "" : "s"));
  return checkpoint::PaddedModel::Make(std::move(model), size);
}

Status NoteWhoCannotShare(const checkpoint::StoredModel& model, const pipeline::Plan& plan,
                          std::string_view file_format, std::size_t ranks, const Runtime& runtime) {
  AWQ_ASSIGN(nlohmann::json config,
             pipeline::QuantizedConfig(model, *plan.format, plan.stored(model.config()),
                                       pipeline::kQuantizedDtype));
  AWQ_ASSIGN(verify::ModelFacts facts,
             verify::FactsOfConfig(std::move(config), model.path().string()));
  if (file_format == kGguf) AWQ_TRY(verify::PutIntoGguf(facts));
  for (const verify::Reader& reader : verify::Readers()) {
    if (reader.ranks != verify::Ranks::kTensorParallel) continue;
    AWQ_ASSIGN(const verify::Verdict verdict, verify::Judge(reader, facts, std::span(&ranks, 1)));
    if (verdict.takes()) continue;
    const verify::Finding& finding = verdict.findings.front();
    Note(runtime,
         fmt::format("--tp-pad {}: {} will not take it on {} rank{}: {}: expects {}, found {}",
                     ranks, reader.name, ranks, ranks == 1 ? "" : "s", finding.where,
                     finding.expects, finding.found));
  }
  return {};
}

}  // namespace awq::api
