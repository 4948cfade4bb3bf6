#include "pipeline/quantize.h"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/memory.h"
#include "calib/collector.h"
#include "checkpoint/writer.h"
#include "io/json.h"
#include "pipeline/check.h"
#include "pipeline/dense.h"
#include "pipeline/directory_files.h"
#include "pipeline/fingerprint.h"
#include "pipeline/hidden_store.h"
#include "pipeline/memory.h"
#include "transformer/block.h"
#include "transformer/embedding.h"

namespace awq::pipeline {
namespace {

using Clock = std::chrono::steady_clock;
using model::Role;

constexpr std::size_t kFoldSampleTokens = 64;

// One run. Its members are what is alive from block to block.
class Run {
 public:
  Run(ThreadPool& pool, const checkpoint::ModelDirectory& model, const Matrix<std::int32_t>& tokens,
      const QuantizeOptions& options, Plan plan)
      : pool_(pool),
        model_(model),
        config_(model.config()),
        tokens_(tokens),
        options_(options),
        plan_(std::move(plan)),
        rope_(config_, calibrates() ? tokens.cols() : 0),
        runner_(pool, config_, rope_, options.precision) {}

  Result<QuantizeReport> Go() {
    AWQ_TRY(CheckRest(pool_, model_));
    AWQ_TRY(Open());
    if (calibrates()) AWQ_TRY(EmbedTokens());
    for (std::size_t layer = 0; layer < config_.num_hidden_layers; ++layer) {
      AWQ_TRY(QuantizeBlock(layer));
    }
    AWQ_TRY(WriteRest());
    report_.seconds = std::chrono::duration<double>(Clock::now() - options_.meter->start).count();
    report_.peak_resident_bytes = ReadMemoryUse().peak_resident_bytes;
    report_.peak_allocated_bytes = options_.meter->allocated.peak_bytes();
    AWQ_TRY(writer_->WriteFile("quantization_report.json", ToText(report_)));
    AWQ_TRY(writer_->Finish());
    return std::move(report_);
  }

 private:
  bool calibrates() const { return options_.method == Method::kAwq; }

  Status Open() {
    checkpoint::WriterOptions writer;
    writer.shard_bytes = options_.shard_bytes;
    AWQ_ASSIGN(writer.fingerprint, Fingerprint(model_, tokens_, options_));
    AWQ_ASSIGN(writer_,
               checkpoint::DirectoryWriter::Create(options_.output, plan_.tensors, writer));
    if (writer_->replaced_another()) {
      Note(options_.progress,
           fmt::format("{}.partial, left by a run with other settings or inputs, is begun afresh",
                       options_.output.string()));
    }
    std::size_t done = 0;
    for (std::size_t layer = 0; layer < config_.num_hidden_layers; ++layer) {
      if (writer_->IsDone(fmt::format("block {}", layer)) != nullptr) ++done;
    }
    if (done > 0) {
      Note(options_.progress,
           fmt::format("continuing: {} of {} blocks are done", done, config_.num_hidden_layers));
    }
    report_.model_type = config_.model_type;
    report_.method = options_.method == Method::kAwq ? "awq" : "rtn";
    report_.format = std::string(plan_.format->name);
    report_.bits = plan_.spec.bits;
    report_.group_size = plan_.spec.group_size == 0 ? -1 : static_cast<int>(plan_.spec.group_size);
    report_.symmetric = plan_.spec.symmetric;
    report_.calibration = options_.calibration_source;
    report_.calibration_tokens = tokens_.size();
    report_.modules_to_not_convert = plan_.modules_to_not_convert();
    for (const auto& linear : plan_.linears) {
      if (linear && !linear->quantized()) {
        report_.obstacles.push_back(fmt::format("{}: {}", linear->name, linear->obstacle));
      }
    }
    report_.input_bytes = model_.weight_bytes();
    for (const io::TensorInfo& tensor : plan_.tensors) report_.output_bytes += tensor.size_bytes;
    if (calibrates()) {
      report_.memory_bound_bytes = options_.memory_bound_bytes;
    }
    return {};
  }

  Status EmbedTokens() {
    stream_.emplace(options_.precision, tokens_.size(), config_.hidden_size);
    sequences_in_flight_ = std::max<std::size_t>(1, kTokensInFlight / tokens_.cols());
    hidden_ = Matrix<float>(sequences_in_flight_ * tokens_.cols(), config_.hidden_size);
    cache_.emplace(
        config_, options_.precision,
        transformer::CacheShape{
            .layers = 1, .slots = sequences_in_flight_, .capacity_tokens = tokens_.cols()});
    AWQ_ASSIGN(const TensorView embedding, model_.Embedding());
    AWQ_TRY(ForBatches(
        [&](std::size_t first_token, const transformer::Batch&, MatrixView<float> hidden) {
          return transformer::Embed(embedding, tokens_.span().subspan(first_token, hidden.rows),
                                    hidden);
        }));
    model_.ReleaseAll();
    return {};
  }

  // Calls body(first token, batch, hidden states) for all sequences, a few at a time; what it
  // leaves in the hidden states is stored.
  template <class Body>
  Status ForBatches(Body body) {
    for (std::size_t first = 0; first < tokens_.rows(); first += sequences_in_flight_) {
      const std::size_t count = std::min(sequences_in_flight_, tokens_.rows() - first);
      transformer::Batch batch;
      for (std::size_t slot = 0; slot < count; ++slot) {
        batch.push_back({.tokens = tokens_.cols(), .position = 0, .slot = slot});
      }
      const MatrixView<float> hidden = hidden_.view().Rows(0, count * tokens_.cols());
      const std::size_t first_token = first * tokens_.cols();
      AWQ_TRY(body(first_token, batch, hidden));
      stream_->Store(pool_, first_token, hidden);
    }
    return {};
  }

  // Runs the original block over all tokens; with a collector, gathers its statistics.
  Status Forward(std::size_t layer, const model::BlockWeights& weights,
                 calib::Collector* collector) {
    AWQ_ASSIGN(const transformer::PreparedBlock block,
               transformer::Prepare(pool_, weights, options_.precision));
    return ForBatches([&](std::size_t first_token, const transformer::Batch& batch,
                          MatrixView<float> hidden) -> Status {
      stream_->Load(pool_, first_token, hidden);
      runner_.Run(block, {layer, 0}, batch, *cache_, hidden, collector);
      Progress(layer, first_token + hidden.rows);
      return {};
    });
  }

  Status QuantizeBlock(std::size_t layer) {
    const std::string unit = fmt::format("block {}", layer);
    AWQ_ASSIGN(const model::BlockWeights weights, model_.Block(layer));
    AWQ_TRY(CheckBlock(pool_, model_, layer, weights));
    if (const nlohmann::json* done = writer_->IsDone(unit)) {
      if (calibrates()) AWQ_TRY(Forward(layer, weights, nullptr));
      AWQ_ASSIGN(BlockReport report, BlockReportFromJson(*done));
      report_.blocks.push_back(std::move(report));
      ++report_.resumed_blocks;
    } else {
      AWQ_ASSIGN(BlockReport report, SearchAndWrite(layer, weights));
      AWQ_TRY(writer_->MarkDone(unit, ToJson(report)));
      report_.blocks.push_back(std::move(report));
    }
    model_.Release(layer);
    Progress(layer + 1, 0);
    return {};
  }

  Result<BlockReport> SearchAndWrite(std::size_t layer, const model::BlockWeights& weights) {
    BlockReport report;
    FoldPlan fold;
    BlockStatistics statistics;
    if (calibrates()) {
      // The fold is checked on the block's own inputs, before the forward pass replaces them.
      Matrix<float> sample(std::min(kFoldSampleTokens, tokens_.cols()), config_.hidden_size);
      stream_->Load(pool_, 0, sample);
      calib::Collector collector(pool_);
      AWQ_TRY(Forward(layer, weights, &collector));
      AWQ_ASSIGN(statistics, std::move(collector).Finish(fmt::format("block {}", layer)));
      AWQ_ASSIGN(fold, SearchScales(pool_, config_, weights, plan_, statistics, report.sites));
      AWQ_ASSIGN(report.fold_difference, VerifyFold(pool_, config_, layer, weights, fold, sample));
    }
    for (const model::SiteRow& site : config_.arch->sites) {
      for (Role reader : site.readers) {
        AWQ_TRY(WriteLinear(weights, reader, fold,
                            calibrates() ? &statistics.at(site.readers.front()) : nullptr, report));
      }
    }
    AWQ_TRY(WriteNorms(layer, weights, fold));
    return report;
  }

  Status WriteLinear(const model::BlockWeights& weights, Role role, const FoldPlan& fold,
                     const search::SiteStatistics* statistics, BlockReport& report) {
    const model::Linear& linear = weights.linear(role);
    const PlannedLinear& planned = plan_.linear(role);
    if (linear.bias) {
      AWQ_TRY(WriteDense(*writer_, linear.name + ".bias", FoldedVector(*linear.bias, role, fold)));
    }
    if (!planned.quantized()) {
      const Matrix<float> folded = FoldedWeight(pool_, linear, role, fold);
      return WriteDense(*writer_, linear.name + ".weight", folded.span());
    }
    AWQ_ASSIGN(RoundedLinear rounded, RoundLinear(pool_, linear, role, planned, fold, statistics));
    for (const pack::PackedPart& part : plan_.format->pack(rounded.weights)) {
      AWQ_TRY(writer_->WriteTensor(fmt::format("{}.{}", linear.name, part.info.suffix),
                                   part.bytes.span()));
    }
    report.linears.push_back(std::move(rounded.report));
    return {};
  }

  Status WriteNorms(std::size_t layer, const model::BlockWeights& weights, const FoldPlan& fold) {
    for (const model::NormRow& row : config_.arch->norms) {
      const auto& norm = weights.norm(row.role);
      if (!norm) continue;
      AWQ_TRY(WriteDense(*writer_, model::ModuleName(*config_.arch, layer, row.name) + ".weight",
                         FoldedVector(*norm, row.role, fold)));
    }
    return {};
  }

  // Everything that is not in a block, and the small files.
  Status WriteRest() {
    AWQ_ASSIGN(const TensorView embedding, model_.Embedding());
    AWQ_TRY(WriteDense(*writer_, std::string(config_.arch->embedding) + ".weight", embedding));
    model_.ReleaseAll();
    AWQ_ASSIGN(const TensorView norm, model_.FinalNorm());
    AWQ_TRY(WriteDense(*writer_, std::string(config_.arch->final_norm) + ".weight", norm));
    if (!config_.tie_word_embeddings) {
      AWQ_ASSIGN(const TensorView head, model_.Head());
      AWQ_TRY(WriteDense(*writer_, std::string(config_.arch->head) + ".weight", head));
    }
    model_.ReleaseAll();
    return WriteDirectoryFiles(*writer_, model_.path(), plan_);
  }

  void Progress(std::size_t layer, std::size_t tokens) {
    if (options_.progress == nullptr) return;
    // A block's search counts as a quarter of its forward pass.
    const std::size_t per_block = calibrates() ? tokens_.size() + tokens_.size() / 4 : 1;
    options_.progress->Update({.stage = "quantizing",
                               .done = layer * per_block + tokens,
                               .total = config_.num_hidden_layers * per_block,
                               .unit = calibrates() ? "tokens" : "blocks",
                               .note = ""});
  }

  ThreadPool& pool_;
  const checkpoint::ModelDirectory& model_;
  const model::ModelConfig& config_;
  const Matrix<std::int32_t>& tokens_;
  const QuantizeOptions& options_;
  Plan plan_;
  transformer::RopeTable rope_;
  transformer::BlockRunner runner_;
  std::unique_ptr<checkpoint::DirectoryWriter> writer_;
  std::optional<HiddenStore> stream_;
  std::optional<transformer::KvCache> cache_;
  std::size_t sequences_in_flight_ = 1;
  Matrix<float> hidden_;
  QuantizeReport report_;
};

}  // namespace

Status CheckQuantizable(const checkpoint::ModelDirectory& model) {
  if (!model.config().quantization) return {};
  return MakeError(ErrorCode::kUnsupported,
                   "{}: already quantized ({}); quantize the original model instead",
                   model.path().string(), model.config().quantization->format);
}

Result<QuantizeReport> Quantize(ThreadPool& pool, const checkpoint::ModelDirectory& model,
                                const Matrix<std::int32_t>& tokens,
                                const QuantizeOptions& options) {
  AWQ_TRY(CheckQuantizable(model));
  if (options.precision == math::Precision::kBF16 && !math::HasFastBF16()) {
    return MakeError(ErrorCode::kUnsupported,
                     "precision bf16: this CPU has no bf16 instructions; use f32");
  }
  if (options.method == Method::kAwq && tokens.size() == 0) {
    return MakeError(ErrorCode::kInvalidArgument, "--method awq needs calibration tokens");
  }
  AWQ_ASSIGN(Plan plan, MakePlan(model.config(), options.plan));
  return Run(pool, model, tokens, options, std::move(plan)).Go();
}

}  // namespace awq::pipeline
