// Blocks that share the inputs of a tile put their sums together, in a fixed order.
#pragma once

#include "cuda/linear.h"
#include "cuda/ptx_sm90.h"

namespace awq::cuda {
inline namespace AWQ_CUDA_SIDE {

// Leaves the block's sums in the workspace: kCount of each of its first kThreads threads, which
// alone may call it. True for the last of a tile's blocks (blockIdx.z), whose sums are then all
// blocks' together.
template <int kCount, int kThreads>
__device__ __forceinline__ bool AddBlocks(float* sums, const Workspace& work, int* shared_flag) {
  const int tile = static_cast<int>(blockIdx.y * gridDim.x + blockIdx.x);
  const int parts = static_cast<int>(gridDim.z);
  float* first =
      work.sums + static_cast<std::size_t>(tile * parts) * (kCount * kThreads) + ThreadInBlock();
  float* mine = first + static_cast<std::size_t>(blockIdx.z) * (kCount * kThreads);
  AWQ_UNROLL
  for (int i = 0; i < kCount; ++i) {
    mine[i * kThreads] = sums[i];
  }
  __threadfence();
  MeetThreads<1>(kThreads);
  if (ThreadInBlock() == 0) {
    *shared_flag = atomicAdd(work.arrivals + tile, 1) == parts - 1 ? 1 : 0;
  }
  MeetThreads<1>(kThreads);
  if (*shared_flag == 0) {
    return false;
  }
  __threadfence();
  AWQ_UNROLL
  for (int i = 0; i < kCount; ++i) {
    sums[i] = 0.0f;
  }
  for (int part = 0; part < parts; ++part) {
    AWQ_UNROLL
    for (int i = 0; i < kCount; ++i) {
      sums[i] += __ldcg(first + static_cast<std::size_t>(part * kCount + i) * kThreads);
    }
  }
  if (ThreadInBlock() == 0) {
    work.arrivals[tile] = 0;
  }
  return true;
}

}  // namespace AWQ_CUDA_SIDE
}  // namespace awq::cuda
