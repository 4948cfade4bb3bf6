// A quantized block improved by gradient: its codes (straight through their rounding), group scales
// and norms, so that its output on its own inputs comes nearer to the original's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "base/threads.h"
#include "model/config.h"
#include "pipeline/hidden_states.h"
#include "pipeline/report.h"
#include "pipeline/stored_block.h"

namespace awq::pipeline {

struct PolishOptions {
  std::size_t epochs = 0;  // 0: none
  std::size_t step_tokens = 1024;
  // Adam's first steps (Kingma and Ba 2015), which shrink to none on half a cosine: of a code, in
  // codes; of a group's scale and of a norm, relative.
  float code_rate = 0.02F;
  float scale_rate = 1e-3F;
  float norm_rate = 1e-3F;
};

// What the block reads in the quantized model and should give, of whole sequences of one length.
struct PolishTask {
  const model::ModelConfig* config = nullptr;
  std::size_t layer = 0;
  std::size_t sequences = 0;
  std::size_t sequence_tokens = 0;
  std::size_t held_out_sequences = 0;  // the last ones: not learnt from, but what is kept by
  const HiddenStates* inputs = nullptr;
  const HiddenStates* targets = nullptr;
  std::function<void(std::size_t epoch, std::size_t tokens)> on_progress;  // may be empty
};

// A block's quantized weights, and their groups.
struct BlockSize {
  std::size_t elements = 0;
  std::size_t groups = 0;
};

// What it holds at the most, the streams and the block itself apart.
std::size_t PolishBytes(const model::ModelConfig& config, const PolishOptions& options,
                        const BlockSize& block, std::size_t sequence_tokens, std::size_t threads);

// Errors are means over tokens of the squared error of the block's output over the target's square.
// Quantized linears and norms of `block` change, or, where no epoch made it better, nothing.
PolishResult Polish(ThreadPool& pool, const PolishTask& task, const PolishOptions& options,
                    StoredBlock& block);

}  // namespace awq::pipeline
