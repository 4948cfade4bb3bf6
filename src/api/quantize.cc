#include "pipeline/quantize.h"

#include <awq/awq.h>

#include <algorithm>
#include <filesystem>
#include <optional>

#include "api/calibration.h"
#include "api/formats.h"
#include "api/guard.h"
#include "api/ranks.h"
#include "api/runtime.h"
#include "base/error.h"
#include "checkpoint/writer.h"
#include "io/scratch_file.h"
#include "pack/ggml_blocks.h"
#include "pipeline/check.h"
#include "pipeline/memory.h"
#include "pipeline/write_gguf.h"

namespace awq {
namespace {

namespace fs = std::filesystem;

// A GGUF is made of a directory whose format holds all bits and groups, which goes away then.
constexpr const char* kCarrier = "compressed-tensors";

fs::path CarrierPath(const fs::path& gguf) { return gguf.string() + ".codes"; }

Result<pipeline::QuantizeOptions> ToPipeline(const QuantizeOptions& options,
                                             const Runtime& runtime) {
  pipeline::QuantizeOptions run;
  run.method = pipeline::FindMethod(options.method);
  if (run.method == nullptr || !run.method->storable()) {
    return MakeError(ErrorCode::kInvalidArgument, "method {}: expected one of {}", options.method,
                     pipeline::MethodNames(/*storable_only=*/true));
  }
  run.plan.format = options.format == api::kGguf ? std::string(kCarrier) : options.format;
  run.file_format = options.format;
  run.plan.bits = options.bits;
  run.plan.symmetric = options.symmetric;
  AWQ_ASSIGN(run.plan.group_size, api::ReadGroupSize(options.group_size));
  run.shard_bytes = options.shard_bytes;
  run.output =
      options.format == api::kGguf ? CarrierPath(options.output) : fs::path(options.output);
  run.progress = runtime.progress;
  return run;
}

Status CheckGguf(const checkpoint::StoredModel& model, const pipeline::Plan& plan,
                 const fs::path& output) {
  AWQ_TRY(pipeline::CheckGguf(model));
  for (const auto& linear : plan.linears) {
    if (!linear || !linear->quantized()) continue;
    AWQ_TRY(pack::BlockTypeOf(linear->spec, linear->in_features, linear->name));
  }
  std::error_code failure;
  if (fs::exists(output, failure)) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "{}: exists already; remove it or choose another output", output.string());
  }
  const fs::path codes = CarrierPath(output);
  if (!fs::exists(codes, failure)) return {};
  return MakeError(ErrorCode::kInvalidArgument,
                   "{0}: the quantized model of a run that was interrupted while it wrote {1}; awq "
                   "convert {0} -o {1} --format gguf --lossy makes the file of it; else remove it",
                   codes.string(), output.string());
}

// What can be refused is refused before any work, self-written calibration text above all.
Result<pipeline::Plan> CheckBeforeWork(const checkpoint::StoredModel& model,
                                       const QuantizeOptions& options,
                                       const pipeline::QuantizeOptions& run) {
  AWQ_TRY(pipeline::CheckQuantizable(model));
  AWQ_ASSIGN(pipeline::Plan plan, pipeline::MakePlan(model.config(), run.plan));
  if (options.format == api::kGguf) AWQ_TRY(CheckGguf(model, plan, options.output));
  AWQ_TRY(checkpoint::DirectoryWriter::CheckOutput(run.output));
  return plan;
}

void NoteObstacles(const pipeline::Plan& plan, const Runtime& runtime) {
  if (const std::string uneven = pipeline::UnevenGroups(plan); !uneven.empty()) {
    api::Note(runtime, uneven);
  }
  for (const auto& linear : plan.linears) {
    if (!linear || linear->quantized()) continue;
    api::Note(runtime, fmt::format("{} stays in 16 bits: {}", linear->name, linear->obstacle));
  }
}

// Where more than a tenth of the linears' weights is left as it is, and another format would not.
void NoteWhatOthersHold(const pipeline::Plan& plan, const Runtime& runtime) {
  const pack::Format& holder = *pack::FindFormat("compressed-tensors");
  std::size_t all = 0;
  std::size_t left = 0;
  for (const auto& linear : plan.linears) {
    if (!linear) continue;
    const std::size_t elements = linear->out_features * linear->in_features;
    all += elements;
    if (!linear->quantized() && pack::Refuses(holder, linear->form()).empty()) left += elements;
  }
  if (left * 10 <= all) return;
  api::Note(runtime, fmt::format("{} % of the linears' weights stay in 16 bits; --format {} would "
                                 "hold them",
                                 (100 * left + all / 2) / all, holder.name));
}

void NoteMissingTokenizer(const checkpoint::StoredModel& model, const Runtime& runtime) {
  const auto file = model.SmallFile("tokenizer.json");
  if (file && *file) return;
  api::Note(runtime, fmt::format("{}: no tokenizer.json, so the output will have none: awq run and "
                                 "eval, and most other programs, need one",
                                 model.path().string()));
}

std::string MiB(std::size_t bytes) { return fmt::format("{} MiB", bytes >> 20); }

// Where the tokens walk through the model, and in which precision.
Status ChooseDevice(const checkpoint::StoredModel& model, const pipeline::RunSize& size,
                    const Runtime& runtime, pipeline::QuantizeOptions& run) {
  const bool calibrates = run.method->calibrates();
  std::size_t gpu_bytes = 0;
  if (calibrates) {
    gpu_bytes = pipeline::EstimateGpuMemory(model.config(), *run.method, size);
    AWQ_ASSIGN(run.gpu, api::GpuOfWalk(runtime, model.config(), gpu_bytes));
  } else if (runtime.device != "cpu") {
    AWQ_TRY(CheckDeviceName(runtime.device));
    api::Note(runtime,
              fmt::format("{} asks for nothing that a GPU could do: on the CPU", run.method->name));
  }
  run.precision = run.gpu ? math::Precision::kBF16 : api::ResolvePrecision(runtime.precision);
  if (!run.gpu) return {};
  api::Note(runtime, fmt::format("GPU memory: about {}", MiB(gpu_bytes)));
  return {};
}

// Says what will be allocated at the most, before any of it is; returns it.
std::size_t AnnounceMemory(const checkpoint::StoredModel& model, const pipeline::Method& method,
                           const api::PreparedCalibration& calibration,
                           const pipeline::RunSize& size, bool on_gpu, const Runtime& runtime) {
  pipeline::MemoryBound bound = pipeline::BoundMemory(model.config(), method, size);
  bound.weights_bytes += model.converted_bytes();
  std::size_t total = bound.total();
  std::string line = fmt::format(
      "{}memory: at most {} allocated (statistics {}, copies of weights {}, activations {}, "
      "program {})",
      on_gpu ? "host " : "", MiB(total), MiB(bound.gram_bytes), MiB(bound.weights_bytes),
      MiB(bound.activation_bytes), MiB(bound.base_bytes));
  if (!on_gpu) {
    line += fmt::format("; disk: {} for hidden states in {}", MiB(bound.disk_bytes),
                        io::ScratchDirectory().string());
  }
  if (calibration.from_model()) {
    const std::size_t self = api::SelfCalibrationBound(model, calibration, size.threads);
    line += fmt::format("; {} while the model writes its calibration text", MiB(self));
    total = std::max(total, self);
  }
  api::Note(runtime, line);
  return total;
}

QuantizeSummary Summarize(const pipeline::QuantizeReport& report) {
  return {.input_bytes = report.input_bytes,
          .output_bytes = report.output_bytes,
          .calibration_tokens = report.calibration_tokens,
          .calibration = report.calibration,
          .resumed_blocks = report.resumed_blocks,
          .not_converted = report.obstacles,
          .seconds = report.seconds,
          .peak_resident_bytes = report.peak_resident_bytes,
          .peak_allocated_bytes = report.peak_allocated_bytes,
          .memory_bound_bytes = report.memory_bound_bytes,
          .device = report.device,
          .peak_gpu_bytes = report.peak_gpu_bytes,
          .json = pipeline::ToText(report)};
}

// Puts the codes of the directory into the file, and takes the directory away.
Result<std::size_t> WriteGguf(ThreadPool& pool, const fs::path& codes, const fs::path& output,
                              const Runtime& runtime) {
  AWQ_ASSIGN(const auto model, checkpoint::OpenModel(codes));
  pipeline::GgufOptions options;
  options.lossy = true;
  options.progress = runtime.progress;
  AWQ_ASSIGN(const pipeline::GgufReport report, pipeline::WriteGguf(pool, *model, output, options));
  std::error_code failure;
  fs::remove_all(codes, failure);
  if (failure) {
    api::Note(runtime, fmt::format("{}: cannot be removed: {}; it is not needed any more",
                                   codes.string(), failure.message()));
  }
  return report.file_bytes;
}

}  // namespace

Result<QuantizeSummary> Quantize(const QuantizeOptions& options, const Runtime& runtime) {
  return api::Guard([&]() -> Result<QuantizeSummary> {
    AWQ_TRY(CheckUsage(options));
    ThreadPool pool(api::CheckedThreads(runtime));
    AWQ_ASSIGN(pipeline::QuantizeOptions run, ToPipeline(options, runtime));
    AWQ_ASSIGN(auto model, api::OpenModel(options.model, runtime));
    if (options.tp_pad) {
      AWQ_ASSIGN(model, api::ForRanks(std::move(model), *options.tp_pad, run.plan, runtime));
    }
    AWQ_ASSIGN(const pipeline::Plan plan, CheckBeforeWork(*model, options, run));
    std::optional<api::PreparedCalibration> calibration;
    if (run.method->calibrates()) {
      AWQ_ASSIGN(calibration, api::PrepareCalibration(*model, options.calibration, runtime));
    } else {
      NoteMissingTokenizer(*model, runtime);
    }
    if (options.format == api::kGguf && options.bits < 4) {
      api::Note(runtime, fmt::format("GGUF stores codes of {} bits in blocks of 4 bits: no smaller "
                                     "than with --bits 4",
                                     options.bits));
    }
    if (options.tp_pad) {
      AWQ_TRY(api::NoteWhoCannotShare(*model, plan, options.format, *options.tp_pad, runtime));
    }
    NoteObstacles(plan, runtime);
    NoteWhatOthersHold(plan, runtime);
    calib::CalibrationTokens tokens;
    pipeline::RunSize size{.precision = api::ResolvePrecision(runtime.precision),
                           .sequences = 0,
                           .sequence_tokens = 0,
                           .group_size = plan.spec.group_size,
                           .threads = pool.size()};
    if (calibration) {
      size.sequences = calibration->options.samples;
      size.sequence_tokens = calibration->options.sequence_tokens;
    }
    AWQ_TRY(ChooseDevice(*model, size, runtime, run));
    if (calibration) {
      size.precision = run.precision;
      run.memory_bound_bytes =
          AnnounceMemory(*model, *run.method, *calibration, size, run.gpu.has_value(), runtime);
      if (calibration->from_model()) AWQ_TRY(pipeline::CheckModel(pool, *model));
      AWQ_ASSIGN(tokens, api::Calibrate(pool, *model, *calibration));
      run.calibration_source = tokens.source;
    }
    AWQ_ASSIGN(const pipeline::QuantizeReport report,
               pipeline::Quantize(pool, *model, tokens.ids, run));
    QuantizeSummary summary = Summarize(report);
    if (options.format == api::kGguf) {
      AWQ_ASSIGN(summary.output_bytes, WriteGguf(pool, run.output, options.output, runtime));
    }
    return summary;
  });
}

}  // namespace awq
