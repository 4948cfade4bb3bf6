// The bandwidth that other kernels are measured by: every byte read once and written once.
#pragma once

#include "cuda/ptx.h"

namespace awq::cuda {
inline namespace AWQ_CUDA_SIDE {

inline constexpr int kCopyThreads = 256;
inline constexpr int kCopyInFlight = 4;  // loads of a thread before its first store

__global__ void __launch_bounds__(kCopyThreads)
    CopyKernel(uint4* to, const uint4* from, std::size_t vectors) {
  constexpr std::size_t kSpan = kCopyThreads * kCopyInFlight;
  const std::size_t first = blockIdx.x * kSpan + threadIdx.x;
  uint4 held[kCopyInFlight];
  AWQ_UNROLL
  for (std::size_t i = 0; i < kCopyInFlight; ++i) {
    const std::size_t at = first + i * kCopyThreads;
    held[i] = at < vectors ? LoadOnce(from + at) : uint4{};
  }
  AWQ_UNROLL
  for (std::size_t i = 0; i < kCopyInFlight; ++i) {
    const std::size_t at = first + i * kCopyThreads;
    if (at < vectors) {
      StoreOnce(to + at, held[i]);
    }
  }
}

template <class Launcher>
Fault LaunchCopy(const Launcher& launcher, void* to, const void* from, std::size_t bytes) {
  const std::size_t vectors = bytes / sizeof(uint4);
  constexpr std::size_t kSpan = kCopyThreads * kCopyInFlight;
  if (bytes % sizeof(uint4) != 0) {
    return MakeFault(FaultKind::kUnsupported, "copying on the GPU: no multiple of 16 bytes");
  }
  LaunchShape shape;
  shape.blocks.x = static_cast<unsigned>((vectors + kSpan - 1) / kSpan);
  shape.threads = kCopyThreads;
  return launcher(CopyKernel, shape, static_cast<uint4*>(to), static_cast<const uint4*>(from),
                  vectors);
}

}  // namespace AWQ_CUDA_SIDE
}  // namespace awq::cuda
