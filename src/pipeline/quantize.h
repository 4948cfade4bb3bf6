// The main job: a model directory in, a quantized one out, one block in memory at a time.
#pragma once

#include <awq/progress.h>
#include <awq/result.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "base/memory.h"
#include "base/threads.h"
#include "checkpoint/stored_model.h"
#include "math/matmul.h"
#include "pipeline/method.h"
#include "pipeline/plan.h"
#include "pipeline/report.h"

namespace awq::pipeline {

// Time and memory since the work began, making the calibration tokens included.
struct Meter {
  std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();
  AllocationWatch allocated;
};

struct QuantizeOptions {
  const Method* method = FindMethod("awq-plus");
  PlanOptions plan;
  math::Precision precision = math::Precision::kF32;
  std::optional<int> gpu;  // which; then the precision is bf16
  std::size_t shard_bytes = std::size_t{5} << 30;
  std::filesystem::path output;
  std::string file_format;                                   // for the report; empty: the plan's
  std::string calibration_source;                            // for the report
  std::shared_ptr<Meter> meter = std::make_shared<Meter>();  // for the report
  std::size_t memory_bound_bytes = 0;                        // for the report
  ProgressSink* progress = nullptr;
};

// Error: the model is quantized already.
Status CheckQuantizable(const checkpoint::StoredModel& model);

// `tokens` [sequences, sequence_tokens]; may be empty for methods without calibration. A run that
// was interrupted is continued when everything that decides its bytes is the same.
Result<QuantizeReport> Quantize(ThreadPool& pool, const checkpoint::StoredModel& model,
                                const Matrix<std::int32_t>& tokens, const QuantizeOptions& options);

}  // namespace awq::pipeline
