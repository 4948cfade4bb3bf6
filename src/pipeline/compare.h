// Several ways of quantizing one model, side by side over one pass through it, and what each makes
// of other tokens. Nothing is written.
#pragma once

#include <awq/progress.h>
#include <awq/result.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/threads.h"
#include "checkpoint/stored_model.h"
#include "pipeline/hidden_states.h"
#include "pipeline/method.h"
#include "pipeline/plan.h"
#include "pipeline/report.h"

namespace awq::pipeline {

class Compute;

// Tokens that every variant is run on, to be scored afterwards.
struct Probe {
  std::vector<std::size_t> sequence_tokens;
  std::vector<std::int32_t> ids;  // of all sequences, one after another
  // Of the hidden states that are kept on disk, for every contender, until the end.
  math::Precision precision = math::Precision::kF32;
};

struct Contender {
  const Method* method = nullptr;
  PlanOptions plan;  // the format is not looked at
};

struct CompareOptions {
  std::vector<Contender> contenders;
  math::Precision precision = math::Precision::kF32;
  std::optional<int> gpu;  // which; then the precision is bf16
  ProgressSink* progress = nullptr;
};

struct ComparedModel {
  // Final hidden states of each probe's tokens, on disk.
  std::vector<std::unique_ptr<HiddenStates>> states;
  std::size_t stored_bits = 0;    // of the whole model
  std::vector<float> final_norm;  // [hidden_size]
  // All below: of contenders.
  quant::Spec spec;    // group_size 0: whole rows
  double seconds = 0;  // what it would take by itself, without making the tokens
  std::size_t memory_bound_bytes = 0;
  std::vector<BlockReport> blocks;
};

struct Comparison {
  std::shared_ptr<Compute> compute;  // where the states below rest
  ComparedModel original;
  std::size_t parameters = 0;
  int original_bits = 16;                 // of a linear's weight, nominally, as the file has it
  std::vector<ComparedModel> contenders;  // as asked for
};

// What Compare keeps in io::ScratchDirectory() at the most: what is measured, until its result is
// gone, and the hidden states of so many calibration tokens while it works.
std::size_t DiskBytes(const model::ModelConfig& config, std::size_t tokens,
                      const std::vector<Probe>& probes, const CompareOptions& options);

// tokens [sequences, sequence_tokens]: calibration; may be empty where no method calibrates.
Result<Comparison> Compare(ThreadPool& pool, const checkpoint::StoredModel& model,
                           const Matrix<std::int32_t>& tokens, const std::vector<Probe>& probes,
                           const CompareOptions& options);

}  // namespace awq::pipeline
