#include "pipeline/convert.h"

#include <awq/awq.h>

#include <nlohmann/json.hpp>

#include "api/guard.h"
#include "api/runtime.h"
#include "base/error.h"
#include "base/memory.h"
#include "checkpoint/reader.h"

namespace awq {
namespace {

std::string ToJson(const ConvertSummary& summary) {
  return nlohmann::json{{"from", summary.from},
                        {"to", summary.to},
                        {"linears", summary.linears},
                        {"input_bytes", summary.input_bytes},
                        {"output_bytes", summary.output_bytes},
                        {"changes", summary.changes},
                        {"resumed", summary.resumed},
                        {"seconds", summary.seconds},
                        {"peak_allocated_bytes", summary.peak_allocated_bytes}}
      .dump(1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

Result<ConvertSummary> Convert(const ConvertOptions& options, const Runtime& runtime) {
  return api::Guard([&]() -> Result<ConvertSummary> {
    ThreadPool pool(runtime.threads);
    AllocationWatch allocated;
    pipeline::ConvertOptions run;
    run.format = pack::FindFormat(options.format);
    if (run.format == nullptr) {
      return MakeError(ErrorCode::kInvalidArgument, "format {}: expected one of {}", options.format,
                       pack::FormatNames());
    }
    run.lossy = options.lossy;
    run.shard_bytes = options.shard_bytes;
    run.output = options.output;
    run.progress = runtime.progress;
    AWQ_ASSIGN(const auto model, api::OpenModel(options.model, runtime));
    const auto* directory = dynamic_cast<const checkpoint::ModelDirectory*>(model.get());
    if (directory == nullptr) {
      return MakeError(ErrorCode::kUnsupported,
                       "{}: the blocks of GGUF are no codes of {}; awq quantize reads the file",
                       options.model, options.format);
    }
    AWQ_ASSIGN(const pipeline::ConvertReport report, pipeline::Convert(pool, *directory, run));
    ConvertSummary summary{.from = report.from,
                           .to = report.to,
                           .linears = report.linears,
                           .input_bytes = report.input_bytes,
                           .output_bytes = report.output_bytes,
                           .changes = report.changes,
                           .resumed = report.resumed,
                           .seconds = report.seconds,
                           .peak_allocated_bytes = allocated.peak_bytes(),
                           .json = ""};
    summary.json = ToJson(summary);
    return summary;
  });
}

}  // namespace awq
