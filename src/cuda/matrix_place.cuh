// Which element of a matrix a thread has, where each has one.
#pragma once

#include "cuda/launch.h"
#include "cuda/matrix.h"
#include "cuda/ops_shapes.h"
#include "cuda/simt.h"

namespace awq::cuda {
inline namespace AWQ_CUDA_SIDE {

inline constexpr unsigned kRowsThreads = 256;

// The row is blockIdx.x.
__device__ __forceinline__ int ColumnOfThread() {
  return static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x);
}

inline LaunchShape ElementsOf(const DeviceMatrix& m) {
  LaunchShape shape;
  shape.blocks.x = static_cast<unsigned>(m.rows);
  shape.blocks.y = CeilDiv(static_cast<unsigned>(m.columns), kRowsThreads);
  shape.threads = kRowsThreads;
  return shape;
}

inline bool IsEmpty(const DeviceMatrix& m) { return m.rows == 0 || m.columns == 0; }

}  // namespace AWQ_CUDA_SIDE
}  // namespace awq::cuda
