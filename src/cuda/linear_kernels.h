// The kernels that compute linears of quantized weights, one by one; linear.h chooses among them.
#pragma once

#include "cuda/linear.h"

namespace awq::cuda {

// 1 to 8 tokens, at the speed of the weights.
Fault StreamLinear(const LinearCall& call, const Workspace& work, int multiprocessors,
                   StreamHandle stream);

// Any number of tokens, in tiles of 16, 32 or 64.
Fault TileLinear(const LinearCall& call, const Workspace& work, int tile_tokens,
                 int multiprocessors, StreamHandle stream);

}  // namespace awq::cuda
