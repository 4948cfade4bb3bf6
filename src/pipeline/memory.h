// The most memory that a run allocates, known before it starts. docs/limits.md explains each term;
// mapped pages of the model's files come on top and may be evicted at any time.
#pragma once

#include <cstddef>

#include "math/matmul.h"
#include "model/config.h"
#include "pipeline/method.h"

namespace awq::pipeline {

struct MemoryBound {
  std::size_t gram_bytes = 0;        // statistics: of one block, or of one site
  std::size_t weights_bytes = 0;     // copies of one block's weights, and the search's
  std::size_t activation_bytes = 0;  // scratch of the forward pass, or of solving a site
  std::size_t base_bytes = 0;        // program, libraries, tokenizer, threads
  std::size_t disk_bytes = 0;        // hidden states of all tokens; not in the total

  std::size_t total() const { return gram_bytes + weights_bytes + activation_bytes + base_bytes; }
};

// Program, libraries, tokenizer and threads: what any run takes.
std::size_t ProgramBytes(std::size_t threads);

// What it depends on besides the model and the method.
struct RunSize {
  math::Precision precision = math::Precision::kF32;
  std::size_t sequences = 0;
  std::size_t sequence_tokens = 0;
  std::size_t group_size = 0;  // 0: whole rows
  std::size_t threads = 1;

  std::size_t tokens() const { return sequences * sequence_tokens; }
};

MemoryBound BoundMemory(const model::ModelConfig& config, const Method& method, const RunSize& run);

// cuBLASLt's scratch memory, kernels, and what the CUDA runtime takes by itself.
inline constexpr std::size_t kGpuBaseBytes = std::size_t{256} << 20;

// What a walk on a GPU takes of its memory, about: hidden states, two blocks in bf16, and of one
// site what is gathered and what solving it takes.
std::size_t EstimateGpuMemory(const model::ModelConfig& config, const Method& method,
                              const RunSize& run);

}  // namespace awq::pipeline
