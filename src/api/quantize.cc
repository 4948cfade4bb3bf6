#include <awq/awq.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "api/calibration.h"
#include "api/guard.h"
#include "api/runtime.h"
#include "pipeline/memory.h"
#include "pipeline/quantize.h"

namespace awq {
namespace {

Result<pipeline::QuantizeOptions> ToPipeline(const QuantizeOptions& options,
                                             const Runtime& runtime) {
  pipeline::QuantizeOptions run;
  if (options.method != "awq" && options.method != "rtn") {
    return MakeError(ErrorCode::kInvalidArgument, "method {}: expected awq or rtn",
                     options.method);
  }
  run.method = options.method == "awq" ? pipeline::Method::kAwq : pipeline::Method::kRtn;
  run.plan.bits = options.bits;
  run.plan.symmetric = options.symmetric;
  if (options.group_size) {
    if (*options.group_size == 0 || *options.group_size < -1) {
      return MakeError(ErrorCode::kInvalidArgument,
                       "group size {}: expected -1 (whole rows) or a positive number",
                       *options.group_size);
    }
    run.plan.group_size =
        *options.group_size == -1 ? 0 : static_cast<std::size_t>(*options.group_size);
  }
  run.precision = api::ResolvePrecision(runtime.precision);
  run.shard_bytes = options.shard_bytes;
  run.output = options.output;
  run.progress = runtime.progress;
  return run;
}

// What can be refused is refused before any work, self-written calibration text above all.
Status CheckBeforeWork(const checkpoint::ModelDirectory& model,
                       const pipeline::QuantizeOptions& run) {
  if (std::filesystem::exists(run.output)) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "{}: exists already; remove it or choose another output",
                     run.output.string());
  }
  AWQ_TRY(pipeline::CheckQuantizable(model));
  AWQ_TRY(pipeline::MakePlan(model.config(), run.plan));
  return {};
}

std::string MiB(std::size_t bytes) { return fmt::format("{} MiB", bytes >> 20); }

void AnnounceMemory(const checkpoint::ModelDirectory& model, const Matrix<std::int32_t>& tokens,
                    std::size_t threads, const Runtime& runtime) {
  const pipeline::MemoryBound bound =
      pipeline::BoundMemory(model.config(), api::ResolvePrecision(runtime.precision),
                            tokens.rows(), tokens.cols(), threads);
  api::Note(runtime, fmt::format("memory: at most {} allocated (hidden states {}, statistics {}, "
                                 "weights of one block {}, activations {}, program {})",
                                 MiB(bound.total()), MiB(bound.stream_bytes),
                                 MiB(bound.gram_bytes), MiB(bound.weights_bytes),
                                 MiB(bound.activation_bytes), MiB(bound.base_bytes)));
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
          .json = pipeline::ToJson(report).dump(1)};
}

}  // namespace

Result<QuantizeSummary> Quantize(const QuantizeOptions& options, const Runtime& runtime) {
  return api::Guard([&]() -> Result<QuantizeSummary> {
    ThreadPool pool(runtime.threads);
    AWQ_ASSIGN(pipeline::QuantizeOptions run, ToPipeline(options, runtime));
    AWQ_ASSIGN(const auto model, checkpoint::ModelDirectory::Open(options.model));
    AWQ_TRY(CheckBeforeWork(*model, run));
    calib::CalibrationTokens tokens;
    if (run.method == pipeline::Method::kAwq) {
      AWQ_ASSIGN(tokens, api::Calibrate(pool, *model,
                                        {.calibration = options.calibration,
                                         .samples = options.samples,
                                         .sequence_tokens = options.sequence_tokens,
                                         .bos = options.bos,
                                         .seed = options.seed},
                                        runtime));
      run.calibration_source = tokens.source;
      AnnounceMemory(*model, tokens.ids, pool.size(), runtime);
    }
    AWQ_ASSIGN(const pipeline::QuantizeReport report,
               pipeline::Quantize(pool, *model, tokens.ids, run));
    return Summarize(report);
  });
}

}  // namespace awq
