// Walks on an NVIDIA GPU, in bf16 with fp32 sums: hidden states stay in its memory, and so do what
// sites gather and the search. Blocks are uploaded one after another.
#pragma once

#include <memory>

#include "base/threads.h"
#include "pipeline/compute.h"

namespace awq::pipeline::gpu {

// Both must outlive it and what it makes. Error: see transformer::gpu::Context::Create; a shape
// that the kernels are not made for.
Result<std::unique_ptr<Compute>> MakeCompute(ThreadPool& pool, const model::ModelConfig& config,
                                             int device);

}  // namespace awq::pipeline::gpu
