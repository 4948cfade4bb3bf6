#include "pipeline/convert_gguf.h"

#include <awq/version.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "checkpoint/writer.h"
#include "math/vector.h"
#include "pipeline/adapt.h"
#include "pipeline/dense.h"
#include "pipeline/directory_files.h"
#include "pipeline/fingerprint.h"
#include "pipeline/plan.h"
#include "pipeline/stored_block.h"

namespace awq::pipeline {
namespace {

using checkpoint::DirectoryWriter;
using nlohmann::json;

class GgufConversion {
 public:
  GgufConversion(ThreadPool& pool, const checkpoint::GgufModel& model,
                 const ConvertOptions& options)
      : pool_(pool), model_(model), config_(model.config()), options_(options) {}

  Result<ConvertReport> Go() {
    const auto start = std::chrono::steady_clock::now();
    AWQ_TRY(DirectoryWriter::CheckOutput(options_.output));
    AWQ_TRY(MakePlan());
    AWQ_TRY(Check());
    AWQ_TRY(Open());
    for (std::size_t layer = 0; layer < config_.num_hidden_layers; ++layer) AWQ_TRY(Write(layer));
    AWQ_TRY(WriteRest());
    Tell("converting", config_.num_hidden_layers);
    report_.seconds = SecondsSince(start);
    return std::move(report_);
  }

 private:
  Status MakePlan() {
    AWQ_ASSIGN(spec_, model_.CodesSpec());
    PlanOptions wanted;
    wanted.format = options_.format->name;
    wanted.bits = spec_.bits;
    wanted.group_size = spec_.group_size;
    wanted.symmetric = spec_.symmetric;
    wanted.zeros_are_known = true;
    AWQ_ASSIGN(wanted.in_16_bits, RolesOfFloats());
    AWQ_ASSIGN(plan_, pipeline::MakePlan(config_, wanted));
    return {};
  }

  // A linear is of floats in all blocks, or in none.
  Result<std::vector<model::Role>> RolesOfFloats() const {
    std::vector<model::Role> roles;
    for (const model::LinearRow& row : config_.arch->linears) {
      const bool first = model_.IsOfFloats(0, row.role);
      for (std::size_t layer = 1; layer < config_.num_hidden_layers; ++layer) {
        if (model_.IsOfFloats(layer, row.role) == first) continue;
        return MakeError(ErrorCode::kUnsupported,
                         "{}: {} is of floats in block {} and has codes in another; "
                         "awq quantize makes some of the weights",
                         model_.path().string(), row.name, first ? 0 : layer);
      }
      if (first) roles.push_back(row.role);
    }
    return roles;
  }

  // All values, before anything is written.
  Status Check() {
    for (std::size_t layer = 0; layer < config_.num_hidden_layers; ++layer) {
      Tell("checking", layer);
      AWQ_TRY(Convert(layer));
      model_.Release(layer);
    }
    Tell("checking", config_.num_hidden_layers);
    for (const auto& [name, tensor] : {std::pair(config_.arch->embedding, model_.Embedding()),
                                       std::pair(config_.arch->final_norm, model_.FinalNorm()),
                                       std::pair(config_.arch->head, model_.Head())}) {
      if (!tensor) return tensor.error();
      if (name == config_.arch->head && config_.tie_word_embeddings) continue;
      CountRounded(std::string(name), *tensor);
    }
    if (report_.changes.empty() || options_.lossy) return {};
    return WouldChange(model_.path(), options_.format->name, report_.changes);
  }

  // The block as it will be stored; adds to the changes, and before writing to what moved.
  Result<StoredBlock> Convert(std::size_t layer) {
    AWQ_ASSIGN(const model::BlockWeights weights, model_.WithoutWeights(layer));
    StoredBlock block;
    const FoldPlan fold;  // nothing moves
    for (const model::LinearRow& row : config_.arch->linears) {
      const model::Linear& linear = weights.linear(row.role);
      StoredLinear& stored = block.linear(row.role);
      AWQ_ASSIGN(stored.bias, StoredBias(linear, row.role, fold));
      if (linear.bias) CountRounded(linear.name + ".bias", *linear.bias);
      if (!plan_.linear(row.role).quantized()) {
        model::Linear dense = linear;
        model_.ReadWeight(layer, row, dense);
        AWQ_ASSIGN(stored.dense, StoredWeight(pool_, dense, row.role, fold));
        CountRounded(linear.name, dense.weight);
        continue;
      }
      AWQ_ASSIGN(checkpoint::GgufModel::Codes codes, model_.CodesOf(pool_, layer, row, spec_));
      if (!writer_) report_.moved.minima.Add(codes.changes.minima);
      if (codes.changes.groups > 0) {
        report_.changes.push_back(
            fmt::format("{}: the minima of {} of {} groups, which fp16 had rounded", linear.name,
                        codes.changes.groups, codes.linear.scales.size()));
      }
      AWQ_TRY(MoveZeros(linear.name, codes.linear));
      stored.quantized = std::move(codes.linear);
    }
    for (const model::NormRow& row : config_.arch->norms) {
      const auto& norm = weights.norm(row.role);
      if (norm) CountRounded(model::ModuleName(*config_.arch, layer, row.name), *norm);
    }
    AWQ_TRY(StoreNorms(config_, layer, weights, fold, block));
    return block;
  }

  Status MoveZeros(const std::string& name, quant::QuantizedLinear& codes) {
    const int least = options_.format->least_zero;
    if (least == 0 || spec_.symmetric) return {};
    AWQ_ASSIGN(const Changes changes,
               Adapt(DType::kF16, least, spec_.max_code(), {},
                     {0, codes.codes.view(), codes.scales.view(), codes.zeros.view()}, name));
    if (!writer_) report_.moved.zeros.Add(changes.zeros);
    if (changes.any()) report_.changes.push_back(name + ": " + Text(changes));
    return {};
  }

  void CountRounded(const std::string& name, const TensorView& tensor) {
    const pack::Movement rounded = RoundedToF16(tensor);
    if (rounded.count == 0) return;
    if (!writer_) report_.moved.values.Add(rounded);
    report_.changes.push_back(
        fmt::format("{}: {} of {} values rounded to fp16", name, rounded.count, tensor.elements()));
  }

  Status Open() {
    checkpoint::WriterOptions writer;
    writer.shard_bytes = options_.shard_bytes;
    AWQ_ASSIGN(const std::string source, ModelFingerprint(model_));
    writer.fingerprint = fmt::format("awq {} convert to {} shard {} {}", kVersion,
                                     options_.format->name, options_.shard_bytes, source);
    report_.from = "gguf";
    report_.to = std::string(options_.format->name);
    report_.input_bytes = model_.weight_bytes();
    for (const auto& linear : plan_.linears) {
      if (linear && linear->quantized()) report_.linears += config_.num_hidden_layers;
    }
    for (const io::TensorInfo& tensor : plan_.tensors) report_.output_bytes += tensor.size_bytes;
    AWQ_ASSIGN(writer_, DirectoryWriter::Create(options_.output, plan_.tensors, writer));
    return {};
  }

  Status Write(std::size_t layer) {
    Tell("converting", layer);
    const std::string unit = fmt::format("block {}", layer);
    if (writer_->IsDone(unit) != nullptr) {
      report_.resumed = true;
      return {};
    }
    const std::size_t changes = report_.changes.size();
    AWQ_ASSIGN(const StoredBlock block, Convert(layer));
    report_.changes.resize(changes);  // Check() has them
    AWQ_TRY(WriteBlock(*writer_, config_, plan_, layer, block));
    model_.Release(layer);
    return writer_->MarkDone(unit, json::object());
  }

  Status WriteRest() {
    AWQ_ASSIGN(const TensorView embedding, model_.Embedding());
    AWQ_TRY(WriteDense(*writer_, std::string(config_.arch->embedding) + ".weight", embedding));
    AWQ_ASSIGN(const TensorView norm, model_.FinalNorm());
    AWQ_TRY(WriteDense(*writer_, std::string(config_.arch->final_norm) + ".weight", norm));
    if (!config_.tie_word_embeddings) {
      AWQ_ASSIGN(const TensorView head, model_.Head());
      AWQ_TRY(WriteDense(*writer_, std::string(config_.arch->head) + ".weight", head));
    }
    AWQ_TRY(WriteDirectoryFiles(*writer_, model_,
                                {*options_.format, plan_.stored(config_), kQuantizedDtype},
                                options_.progress));
    return writer_->Finish();
  }

  void Tell(std::string_view stage, std::size_t layer) const {
    Report(options_.progress, stage, layer, config_.num_hidden_layers, "blocks");
  }

  ThreadPool& pool_;
  const checkpoint::GgufModel& model_;
  const model::ModelConfig& config_;
  const ConvertOptions& options_;
  quant::Spec spec_;
  Plan plan_;
  std::unique_ptr<DirectoryWriter> writer_;
  ConvertReport report_;
};

}  // namespace

Result<ConvertReport> ConvertGguf(ThreadPool& pool, const checkpoint::GgufModel& model,
                                  const ConvertOptions& options) {
  return GgufConversion(pool, model, options).Go();
}

}  // namespace awq::pipeline
