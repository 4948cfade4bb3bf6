#include "pipeline/check.h"

#include "base/error.h"
#include "pipeline/dense.h"

namespace awq::pipeline {
namespace {

Status Check(ThreadPool& pool, const checkpoint::StoredModel& model, const TensorView& tensor,
             std::string_view name) {
  return CheckFinite(pool, tensor, fmt::format("{}: {}", model.path().string(), name));
}

}  // namespace

Status CheckBlock(ThreadPool& pool, const checkpoint::StoredModel& model, std::size_t layer,
                  const model::BlockWeights& weights) {
  const model::ArchSpec& arch = *model.config().arch;
  for (const auto& linear : weights.linears) {
    if (!linear) continue;
    AWQ_TRY(Check(pool, model, linear->weight, linear->name + ".weight"));
    if (linear->bias) AWQ_TRY(Check(pool, model, *linear->bias, linear->name + ".bias"));
  }
  for (const model::NormRow& row : arch.norms) {
    const auto& norm = weights.norm(row.role);
    if (!norm) continue;
    AWQ_TRY(Check(pool, model, *norm, model::ModuleName(arch, layer, row.name) + ".weight"));
  }
  return {};
}

Status CheckRest(ThreadPool& pool, const checkpoint::StoredModel& model) {
  const model::ArchSpec& arch = *model.config().arch;
  AWQ_ASSIGN(const TensorView embedding, model.Embedding());
  AWQ_TRY(Check(pool, model, embedding, std::string(arch.embedding) + ".weight"));
  AWQ_ASSIGN(const TensorView norm, model.FinalNorm());
  AWQ_TRY(Check(pool, model, norm, std::string(arch.final_norm) + ".weight"));
  if (!model.config().tie_word_embeddings) {
    AWQ_ASSIGN(const TensorView head, model.Head());
    AWQ_TRY(Check(pool, model, head, std::string(arch.head) + ".weight"));
  }
  model.ReleaseAll();
  return {};
}

Status CheckModel(ThreadPool& pool, const checkpoint::StoredModel& model) {
  AWQ_TRY(CheckRest(pool, model));
  for (std::size_t layer = 0; layer < model.config().num_hidden_layers; ++layer) {
    AWQ_ASSIGN(const model::BlockWeights weights, model.Block(layer));
    AWQ_TRY(CheckBlock(pool, model, layer, weights));
    model.Release(layer);
  }
  return {};
}

}  // namespace awq::pipeline
