#include "pipeline/quantize.h"

#include <chrono>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "checkpoint/writer.h"
#include "pipeline/compute.h"
#include "pipeline/dense.h"
#include "pipeline/directory_files.h"
#include "pipeline/fingerprint.h"
#include "pipeline/stored_block.h"
#include "pipeline/walk.h"

namespace awq::pipeline {
namespace {

using Clock = std::chrono::steady_clock;

Variant MakeVariant(const Method* method, Plan plan) {
  Variant variant;
  variant.method = method;
  variant.plan = std::move(plan);
  return variant;
}

// One run. Its members are what is alive from block to block.
class Run {
 public:
  Run(ThreadPool& pool, Compute& compute, const checkpoint::StoredModel& model,
      const Matrix<std::int32_t>& tokens, const QuantizeOptions& options, Plan plan)
      : variant_(MakeVariant(options.method, std::move(plan))),
        model_(model),
        config_(model.config()),
        tokens_(tokens),
        options_(options),
        compute_(compute),
        walk_(pool, compute, model, tokens, options.precision, {&variant_}, options.progress) {}

  Result<QuantizeReport> Go() {
    AWQ_TRY(Open());
    AWQ_TRY(walk_.Begin());
    while (walk_.layer() < config_.num_hidden_layers) AWQ_TRY(NextBlock());
    AWQ_TRY(WriteRest());
    report_.seconds = SecondsSince(options_.meter->start);
    report_.peak_resident_bytes = ReadMemoryUse().peak_resident_bytes;
    report_.peak_allocated_bytes = options_.meter->allocated.peak_bytes();
    report_.peak_gpu_bytes = compute_.use().peak_gpu_bytes;
    AWQ_TRY(writer_->WriteFile(std::string(kReportName), ToText(report_)));
    AWQ_TRY(writer_->Finish());
    return std::move(report_);
  }

 private:
  const Plan& plan() const { return variant_.plan; }

  Status Open() {
    checkpoint::WriterOptions writer;
    writer.shard_bytes = options_.shard_bytes;
    AWQ_ASSIGN(writer.fingerprint, Fingerprint(model_, tokens_, options_));
    AWQ_TRY(CheckDeviceOfPartial(writer.fingerprint));
    AWQ_ASSIGN(writer_,
               checkpoint::DirectoryWriter::Create(options_.output, plan().tensors, writer));
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
    Describe();
    return {};
  }

  // Error: what is there is the same run on the other device, whose work would be lost.
  Status CheckDeviceOfPartial(const std::string& fingerprint) const {
    const std::string left = checkpoint::DirectoryWriter::LeftBy(options_.output);
    if (left.empty() || left == fingerprint) return {};
    QuantizeOptions other = options_;
    other.gpu = options_.gpu ? std::nullopt : std::optional<int>(0);
    for (const auto precision : {math::Precision::kBF16, math::Precision::kF32}) {
      other.precision = precision;
      AWQ_ASSIGN(const std::string there, Fingerprint(model_, tokens_, other));
      if (there != left) continue;
      return MakeError(ErrorCode::kInvalidArgument,
                       "{}.partial was begun on {}: {} goes on with it; remove it to begin afresh",
                       options_.output.string(), other.gpu ? "a GPU" : "the CPU",
                       other.gpu ? "--device cuda" : "the same without --device");
    }
    return {};
  }

  void Describe() {
    const quant::Spec& spec = plan().spec;
    report_.model_type = config_.model_type;
    report_.method = std::string(options_.method->name);
    report_.device = compute_.use().device;
    report_.format =
        options_.file_format.empty() ? std::string(plan().format->name) : options_.file_format;
    report_.bits = spec.bits;
    report_.group_size = spec.group_size == 0 ? -1 : static_cast<int>(spec.group_size);
    report_.symmetric = spec.symmetric;
    report_.calibration = options_.calibration_source;
    report_.calibration_tokens = tokens_.size();
    report_.held_out_tokens = walk_.held_out_tokens();
    report_.modules_to_not_convert = plan().modules_to_not_convert();
    for (const auto& linear : plan().linears) {
      if (linear && !linear->quantized()) {
        report_.obstacles.push_back(fmt::format("{}: {}", linear->name, linear->obstacle));
      }
    }
    report_.input_bytes = model_.weight_bytes();
    for (const io::TensorInfo& tensor : plan().tensors) report_.output_bytes += tensor.size_bytes;
    if (options_.method->calibrates()) report_.memory_bound_bytes = options_.memory_bound_bytes;
  }

  Status NextBlock() {
    const std::size_t layer = walk_.layer();
    const std::string unit = fmt::format("block {}", layer);
    if (const nlohmann::json* done = writer_->IsDone(unit)) {
      AWQ_TRY(walk_.TakeBlock([&] { return ReadBlock(*writer_, config_, plan(), layer); }));
      AWQ_ASSIGN(BlockReport report, BlockReportFromJson(*done));
      report_.blocks.push_back(std::move(report));
      ++report_.resumed_blocks;
      return {};
    }
    AWQ_TRY(walk_.QuantizeBlock());
    AWQ_TRY(WriteBlock(*writer_, config_, plan(), layer, variant_.block));
    AWQ_TRY(writer_->MarkDone(unit, ToJson(variant_.report)));
    report_.blocks.push_back(std::move(variant_.report));
    return {};
  }

  // Everything that is not in a block, and the small files.
  Status WriteRest() {
    AWQ_ASSIGN(const TensorView embedding, model_.Embedding());
    AWQ_TRY(WriteDense(*writer_, std::string(config_.arch->embedding) + ".weight", embedding));
    model_.ReleaseAll();
    AWQ_ASSIGN(const std::vector<F16> norm, walk_.FinalNorm(variant_));
    AWQ_TRY(writer_->WriteTensor(std::string(config_.arch->final_norm) + ".weight",
                                 std::as_bytes(std::span(norm))));
    if (!config_.tie_word_embeddings) {
      AWQ_ASSIGN(const TensorView head, model_.Head());
      AWQ_TRY(WriteDense(*writer_, std::string(config_.arch->head) + ".weight", head));
    }
    model_.ReleaseAll();
    return WriteDirectoryFiles(*writer_, model_,
                               {*plan().format, plan().stored(config_), kQuantizedDtype},
                               options_.progress);
  }

  Variant variant_;
  const checkpoint::StoredModel& model_;
  const model::ModelConfig& config_;
  const Matrix<std::int32_t>& tokens_;
  const QuantizeOptions& options_;
  Compute& compute_;
  Walk walk_;
  std::unique_ptr<checkpoint::DirectoryWriter> writer_;
  QuantizeReport report_;
};

}  // namespace

Status CheckQuantizable(const checkpoint::StoredModel& model) {
  if (!model.quantization()) return {};
  return MakeError(ErrorCode::kUnsupported,
                   "{}: already quantized ({}); quantize the original model instead",
                   model.path().string(), model.quantization()->format->name);
}

Result<QuantizeReport> Quantize(ThreadPool& pool, const checkpoint::StoredModel& model,
                                const Matrix<std::int32_t>& tokens,
                                const QuantizeOptions& options) {
  AWQ_TRY(CheckQuantizable(model));
  if (!options.gpu && options.precision == math::Precision::kBF16 && !math::HasFastBF16()) {
    return MakeError(ErrorCode::kUnsupported,
                     "precision bf16: this CPU has no bf16 instructions; use f32");
  }
  if (!options.method->storable()) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "method {}: no file can hold what it makes; compare takes it. Expected one of "
                     "{}",
                     options.method->name, MethodNames(/*storable_only=*/true));
  }
  if (options.method->calibrates() && tokens.size() == 0) {
    return MakeError(ErrorCode::kInvalidArgument, "--method {} needs calibration tokens",
                     options.method->name);
  }
  AWQ_ASSIGN(Plan plan, MakePlan(model.config(), options.plan));
  AWQ_ASSIGN(const auto compute, MakeCompute(pool, model.config(), options.precision, options.gpu));
  return Run(pool, *compute, model, tokens, options, std::move(plan)).Go();
}

}  // namespace awq::pipeline
