#include "pipeline/convert.h"

#include <awq/awq.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "api/formats.h"
#include "api/guard.h"
#include "api/runtime.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "checkpoint/gguf_model.h"
#include "checkpoint/reader.h"
#include "pipeline/convert_gguf.h"
#include "pipeline/write_gguf.h"

namespace awq {
namespace {

std::vector<MovedNumbers> ToPublic(const pipeline::Moved& moved) {
  std::vector<MovedNumbers> kinds;
  const auto add = [&](const char* what, const pack::Movement& movement) {
    if (movement.count == 0) return;
    kinds.push_back({what, movement.count, movement.largest_absolute, movement.largest_relative});
  };
  add("scales", moved.scales);
  add("zero points", moved.zeros);
  add("minima", moved.minima);
  add("other values", moved.values);
  return kinds;
}

std::string ToJson(const ConvertSummary& summary) {
  nlohmann::json moved = nlohmann::json::array();
  for (const MovedNumbers& kind : summary.moved) {
    moved.push_back({{"what", kind.what},
                     {"count", kind.count},
                     {"largest_absolute", kind.largest_absolute},
                     {"largest_relative", kind.largest_relative}});
  }
  return nlohmann::json{{"from", summary.from},
                        {"to", summary.to},
                        {"linears", summary.linears},
                        {"input_bytes", summary.input_bytes},
                        {"output_bytes", summary.output_bytes},
                        {"changes", summary.changes},
                        {"moved", std::move(moved)},
                        {"resumed", summary.resumed},
                        {"seconds", summary.seconds},
                        {"peak_allocated_bytes", summary.peak_allocated_bytes}}
      .dump(1, ' ', false, nlohmann::json::error_handler_t::replace);
}

// A model that is not quantized becomes a GGUF with the elements that it has.
Result<ConvertSummary> ConvertToGguf(ThreadPool& pool, const checkpoint::StoredModel& model,
                                     const ConvertOptions& options, const Runtime& runtime) {
  const auto start = std::chrono::steady_clock::now();
  if (dynamic_cast<const checkpoint::GgufModel*>(&model) != nullptr) {
    return MakeError(ErrorCode::kUnsupported, "{}: a GGUF file already", options.model);
  }
  AWQ_ASSIGN(const pipeline::GgufReport report,
             pipeline::WriteGguf(pool, model, options.output,
                                 {.linears = std::nullopt,
                                  .plain = std::nullopt,
                                  .lossy = options.lossy,
                                  .progress = runtime.progress}));
  ConvertSummary summary;
  summary.from =
      model.quantization() ? std::string(model.quantization()->format->name) : "not quantized";
  summary.to = options.format;
  summary.linears = report.linears;
  summary.input_bytes = model.weight_bytes();
  summary.output_bytes = report.file_bytes;
  summary.changes = report.changes;
  summary.moved = ToPublic(report.moved);
  summary.seconds = SecondsSince(start);
  return summary;
}

Result<ConvertSummary> ConvertToDirectory(ThreadPool& pool, const checkpoint::StoredModel& model,
                                          const ConvertOptions& options, const Runtime& runtime) {
  pipeline::ConvertOptions run;
  AWQ_ASSIGN(run.format, api::FindFormat(options.format));
  run.lossy = options.lossy;
  run.shard_bytes = options.shard_bytes;
  run.output = options.output;
  run.progress = runtime.progress;
  const auto* gguf = dynamic_cast<const checkpoint::GgufModel*>(&model);
  const auto* directory = dynamic_cast<const checkpoint::ModelDirectory*>(&model);
  AWQ_ASSIGN(const pipeline::ConvertReport report, gguf != nullptr
                                                       ? pipeline::ConvertGguf(pool, *gguf, run)
                                                       : pipeline::Convert(pool, *directory, run));
  ConvertSummary summary;
  summary.from = report.from;
  summary.to = report.to;
  summary.linears = report.linears;
  summary.input_bytes = report.input_bytes;
  summary.output_bytes = report.output_bytes;
  summary.changes = report.changes;
  summary.moved = ToPublic(report.moved);
  summary.resumed = report.resumed;
  summary.seconds = report.seconds;
  return summary;
}

}  // namespace

Result<ConvertSummary> Convert(const ConvertOptions& options, const Runtime& runtime) {
  return api::Guard([&]() -> Result<ConvertSummary> {
    ThreadPool pool(api::CheckedThreads(runtime));
    AllocationWatch allocated;
    const bool to_gguf = options.format == api::kGguf;
    AWQ_TRY(CheckUsage(options));
    AWQ_ASSIGN(const auto model, api::OpenModel(options.model, runtime));
    AWQ_ASSIGN(ConvertSummary summary, to_gguf
                                           ? ConvertToGguf(pool, *model, options, runtime)
                                           : ConvertToDirectory(pool, *model, options, runtime));
    summary.peak_allocated_bytes = allocated.peak_bytes();
    summary.json = ToJson(summary);
    return summary;
  });
}

}  // namespace awq
