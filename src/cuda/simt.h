// The words of CUDA C++ that kernels are written in: nvcc knows them by itself, and for any other
// compiler they are the emulator's. Kernels use dynamic shared memory only.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/fault.h"
#include "cuda/launch.h"

// A program may have both forms of a kernel; the linker must not take one for the other.
#if defined(__CUDACC__)
#define AWQ_CUDA_SIDE device
#else
#define AWQ_CUDA_SIDE emulated
#endif

#if defined(__CUDACC__)

namespace awq::cuda {

__device__ __forceinline__ unsigned char* SharedMemory() {
  extern __shared__ __align__(1024) unsigned char awq_shared_memory[];
  return awq_shared_memory;
}

}  // namespace awq::cuda

#define AWQ_UNROLL _Pragma("unroll")

#else

#include <algorithm>
#include <cmath>
#include <cstring>

#include "cuda/emulator.h"

#define __global__ inline
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define AWQ_UNROLL

#define threadIdx (::awq::cuda::simt::Self().thread)
#define blockIdx (::awq::cuda::simt::Self().block)
#define blockDim (::awq::cuda::simt::Self().blocks_size)
#define gridDim (::awq::cuda::simt::Self().grid_size)

namespace awq::cuda {

using simt::SharedMemory;
using std::max;
using std::min;

struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

inline void __syncthreads() { simt::Barrier(0, blockDim.x); }
inline void __threadfence() {}

inline void __syncwarp(unsigned mask = 0xffffffffu) {
  simt::Meet("__syncwarp", mask, nullptr, [](void* const*) {});
}

template <class T>
T __shfl_sync(unsigned mask, T value, int lane) {
  return simt::Shuffle("__shfl_sync", mask, value, static_cast<unsigned>(lane) % 32);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes) {
  return simt::Shuffle("__shfl_xor_sync", mask, value,
                       simt::Self().lane ^ static_cast<unsigned>(lanes));
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned lanes) {
  return simt::Shuffle("__shfl_down_sync", mask, value, simt::Self().lane + lanes);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned lanes) {
  // Lanes below get their own value: a difference below zero is far above 31.
  return simt::Shuffle("__shfl_up_sync", mask, value, simt::Self().lane - lanes);
}

inline unsigned __ballot_sync(unsigned mask, bool predicate) {
  struct Record {
    bool predicate;
    unsigned result;
  } mine{predicate, 0};
  simt::MeetWith("__ballot_sync", mask, mine, [](Record** lanes) {
    unsigned votes = 0;
    for (unsigned i = 0; i < 32; ++i) {
      votes |= lanes[i] != nullptr && lanes[i]->predicate ? 1u << i : 0u;
    }
    for (unsigned i = 0; i < 32; ++i) {
      if (lanes[i] != nullptr) {
        lanes[i]->result = votes;
      }
    }
  });
  return mine.result;
}
inline bool __any_sync(unsigned mask, bool predicate) {
  return __ballot_sync(mask, predicate) != 0;
}
inline bool __all_sync(unsigned mask, bool predicate) {
  return __ballot_sync(mask, predicate) == mask;
}

// Threads take turns only where they wait, so that these are atomic as they are.
template <class T>
T atomicAdd(T* at, T value) {
  const T before = *at;
  *at = before + value;
  return before;
}
template <class T>
T atomicMax(T* at, T value) {
  const T before = *at;
  *at = max(before, value);
  return before;
}

// Bytes of y : x, as the four lowest hexadecimal digits of `selector` number them.
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
  const std::uint64_t both = static_cast<std::uint64_t>(y) << 32 | x;
  unsigned result = 0;
  for (unsigned i = 0; i < 4; ++i) {
    const unsigned from = selector >> (4 * i) & 7u;
    result |= static_cast<unsigned>(both >> (8 * from) & 0xffu) << (8 * i);
  }
  return result;
}
template <class T>
T __ldg(const T* at) {
  simt::CheckAligned("__ldg", at, alignof(T));
  return *at;
}
template <class T>
T __ldcg(const T* at) {
  return *at;
}

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x)); }
inline int __ffs(int x) { return __builtin_ffs(x); }
// A product that no sum is fused with.
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __expf(float x) { return std::exp(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __uint_as_float(unsigned x) {
  float y = 0;
  std::memcpy(&y, &x, 4);
  return y;
}
inline unsigned __float_as_uint(float x) {
  unsigned y = 0;
  std::memcpy(&y, &x, 4);
  return y;
}

}  // namespace awq::cuda

#endif

namespace awq::cuda {

inline constexpr unsigned kAllLanes = 0xffffffffu;

// A part of the launch's shared memory.
template <class T>
__device__ __forceinline__ T* SharedArray(std::size_t offset_bytes = 0) {
  return reinterpret_cast<T*>(SharedMemory() + offset_bytes);
}

__device__ __forceinline__ int ThreadInBlock() { return static_cast<int>(threadIdx.x); }
__device__ __forceinline__ int LaneInWarp() { return static_cast<int>(threadIdx.x % 32u); }
__device__ __forceinline__ int WarpInBlock() { return static_cast<int>(threadIdx.x / 32u); }

}  // namespace awq::cuda
