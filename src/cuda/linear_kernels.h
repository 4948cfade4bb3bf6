// The kernels that compute linears of quantized weights, one by one; linears.h chooses among them.
#pragma once

#include "cuda/linear.h"

namespace awq::cuda {

// What any of them needs of a Workspace, for each multiprocessor and at most.
inline constexpr std::size_t kSumsBytesEach = 64 << 10;
inline constexpr std::size_t kMostArrivals = 1 << 14;

// 1 to 8 tokens, at the speed of the weights.
Fault StreamLinear(const LinearCall& call, const Workspace& work, int multiprocessors,
                   StreamHandle stream);

// Any number of tokens, in tiles of 16, 32 or 64.
Fault TileLinear(const LinearCall& call, const Workspace& work, int tile_tokens,
                 int multiprocessors, StreamHandle stream);

// Whether this program has machine code of the next one for a device of that capability
// (10 major + minor).
bool HasWgmmaLinear(int capability);
// Any number of tokens, in tiles of 16, 32, 64 or 128.
Fault WgmmaLinear(const LinearCall& call, const Workspace& work, int tile_tokens,
                  int multiprocessors, StreamHandle stream);

// Panels [first_panel, first_panel + panels) as dense rows of `type`, each weight rounded once.
Fault DequantizeWeights(const DeviceWeights& weights, Float type, int first_panel, int panels,
                        void* dense, StreamHandle stream);
// Rows [first_row, first_row + rows) of y += bias.
Fault AddBias(const LinearCall& call, int first_row, int rows, StreamHandle stream);

}  // namespace awq::cuda
