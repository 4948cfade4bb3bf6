// Instructions that CUDA C++ has no word for, each in one wrapper with two forms: PTX for nvcc, and
// what it does for the emulator. Addresses are generic pointers; "shared" ones point into shared
// memory. PTX ISA 8.x is the source of every fragment's layout.
#pragma once

#include <cstdint>

#include "cuda/numbers.h"
#include "cuda/simt.h"

namespace awq::cuda {

#if defined(__CUDACC__)
__device__ __forceinline__ std::uint32_t SharedAddress(const void* shared) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(shared));
}
#endif

// ---- loads and stores that pass the caches by ----

#if defined(__CUDACC__)
// What is read or written with it leaves L2 first.
__device__ __forceinline__ std::uint64_t EvictFirst() {
  std::uint64_t policy;
  asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}
#endif

// 16 bytes of memory that no kernel writes meanwhile and nobody reads again soon.
__device__ __forceinline__ uint4 LoadOnce(const uint4* global) {
#if defined(__CUDACC__)
  uint4 value;
  asm volatile("ld.global.nc.L1::no_allocate.L2::cache_hint.v4.u32 {%0, %1, %2, %3}, [%4], %5;"
               : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
               : "l"(global), "l"(EvictFirst()));
  return value;
#else
  simt::CheckAligned("ld.global.v4", global, 16);
  return *global;
#endif
}

__device__ __forceinline__ void StoreOnce(uint4* global, uint4 value) {
#if defined(__CUDACC__)
  asm volatile(
      "st.global.L1::no_allocate.L2::cache_hint.v4.u32 [%0], {%1, %2, %3, %4}, %5;" ::"l"(global),
      "r"(value.x), "r"(value.y), "r"(value.z), "r"(value.w), "l"(EvictFirst())
      : "memory");
#else
  simt::CheckAligned("st.global.v4", global, 16);
  *global = value;
#endif
}

// a & mask | bits in one instruction, which nvcc does not find where both are constants.
__device__ __forceinline__ std::uint32_t AndOr(std::uint32_t a, std::uint32_t mask,
                                               std::uint32_t bits) {
#if defined(__CUDACC__)
  std::uint32_t result;
  asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(result) : "r"(a), "r"(mask), "r"(bits));
  return result;
#else
  return (a & mask) | bits;
#endif
}

// ---- pairs of 16-bit floats in a register, the first in the lower half ----

template <class T>
__device__ __forceinline__ std::uint32_t AddPairs(std::uint32_t a, std::uint32_t b);
// a * b + c, rounded once.
template <class T>
__device__ __forceinline__ std::uint32_t MultiplyAddPairs(std::uint32_t a, std::uint32_t b,
                                                          std::uint32_t c);
// Rounds to nearest.
template <class T>
__device__ __forceinline__ std::uint32_t PackPair(float low, float high);

#if !defined(__CUDACC__)
template <class T>
std::uint32_t PackPairOf(float low, float high) {
  return FromFloat<T>(low).bits | static_cast<std::uint32_t>(FromFloat<T>(high).bits) << 16;
}
// Exact in double but for the rounding to float that comes first, which no kernel here meets.
template <class T>
std::uint32_t MultiplyAddPairsOf(std::uint32_t a, std::uint32_t b, std::uint32_t c) {
  const auto part = [](std::uint32_t pair, int i) {
    return static_cast<double>(ToFloat(T{static_cast<std::uint16_t>(pair >> (16 * i))}));
  };
  return PackPairOf<T>(static_cast<float>(part(a, 0) * part(b, 0) + part(c, 0)),
                       static_cast<float>(part(a, 1) * part(b, 1) + part(c, 1)));
}
#endif

template <>
__device__ __forceinline__ std::uint32_t MultiplyAddPairs<Half>(std::uint32_t a, std::uint32_t b,
                                                                std::uint32_t c) {
#if defined(__CUDACC__)
  std::uint32_t sum;
  asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(sum) : "r"(a), "r"(b), "r"(c));
  return sum;
#else
  return MultiplyAddPairsOf<Half>(a, b, c);
#endif
}

template <>
__device__ __forceinline__ std::uint32_t MultiplyAddPairs<Bfloat16>(std::uint32_t a,
                                                                    std::uint32_t b,
                                                                    std::uint32_t c) {
#if defined(__CUDACC__)
  std::uint32_t sum;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(sum) : "r"(a), "r"(b), "r"(c));
  return sum;
#else
  return MultiplyAddPairsOf<Bfloat16>(a, b, c);
#endif
}

template <>
__device__ __forceinline__ std::uint32_t AddPairs<Half>(std::uint32_t a, std::uint32_t b) {
#if defined(__CUDACC__)
  std::uint32_t sum;
  asm("add.rn.f16x2 %0, %1, %2;" : "=r"(sum) : "r"(a), "r"(b));
  return sum;
#else
  return MultiplyAddPairsOf<Half>(a, 0x3c003c00u, b);
#endif
}

// Before sm_90 there is no sum of bf16.
template <>
__device__ __forceinline__ std::uint32_t AddPairs<Bfloat16>(std::uint32_t a, std::uint32_t b) {
  return MultiplyAddPairs<Bfloat16>(a, 0x3f803f80u, b);
}

template <>
__device__ __forceinline__ std::uint32_t PackPair<Half>(float low, float high) {
#if defined(__CUDACC__)
  std::uint32_t pair;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
#else
  return PackPairOf<Half>(low, high);
#endif
}

template <>
__device__ __forceinline__ std::uint32_t PackPair<Bfloat16>(float low, float high) {
#if defined(__CUDACC__)
  std::uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
#else
  return PackPairOf<Bfloat16>(low, high);
#endif
}

// ---- asynchronous copies into shared memory (sm_80) ----

// 16 bytes; zeros where `valid` is false, and then `global` is not read.
__device__ __forceinline__ void CopyAsync16(void* shared, const void* global, bool valid = true) {
#if defined(__CUDACC__)
  asm volatile(
      "cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(SharedAddress(shared)),
      "l"(global), "r"(valid ? 16 : 0)
      : "memory");
#else
  simt::CopyAsync(shared, global, 16, !valid);
#endif
}

// 4 bytes, likewise.
__device__ __forceinline__ void CopyAsync4(void* shared, const void* global, bool valid = true) {
#if defined(__CUDACC__)
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(SharedAddress(shared)),
               "l"(global), "r"(valid ? 4 : 0)
               : "memory");
#else
  simt::CopyAsync(shared, global, 4, !valid);
#endif
}

__device__ __forceinline__ void CommitCopies() {
#if defined(__CUDACC__)
  asm volatile("cp.async.commit_group;" ::: "memory");
#else
  simt::CommitCopies();
#endif
}

// This thread's copies are there, but for its `kNewest` newest groups. Other threads see them after
// a barrier.
template <int kNewest>
__device__ __forceinline__ void WaitCopies() {
#if defined(__CUDACC__)
  asm volatile("cp.async.wait_group %0;" ::"n"(kNewest) : "memory");
#else
  simt::WaitCopies(kNewest);
#endif
}

// ---- matrices (sm_80) ----

// kMatrices 8 x 8 matrices of 16-bit elements: lane 8 m + r gives the address of row r of matrix m
// (16 bytes, aligned); register m of lane l gets elements 2 (l % 4) and the next of row l / 4, or,
// transposed, of column l / 4.
template <std::size_t kMatrices, bool kTransposed = false>
__device__ __forceinline__ void LoadMatrices(std::uint32_t (&r)[kMatrices], const void* row) {
  static_assert(kMatrices == 1 || kMatrices == 2 || kMatrices == 4);
#if defined(__CUDACC__)
  const std::uint32_t address = SharedAddress(row);
#define AWQ_LDMATRIX(shape, outputs, input, ...)                                                \
  if constexpr (kTransposed) {                                                                  \
    asm volatile("ldmatrix.sync.aligned.m8n8." shape ".trans.shared.b16 {" outputs "}, [" input \
                 "];"                                                                           \
                 : __VA_ARGS__                                                                  \
                 : "r"(address)                                                                 \
                 : "memory");                                                                   \
  } else {                                                                                      \
    asm volatile("ldmatrix.sync.aligned.m8n8." shape ".shared.b16 {" outputs "}, [" input "];"  \
                 : __VA_ARGS__                                                                  \
                 : "r"(address)                                                                 \
                 : "memory");                                                                   \
  }
  if constexpr (kMatrices == 4) {
    AWQ_LDMATRIX("x4", "%0, %1, %2, %3", "%4", "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]))
  } else if constexpr (kMatrices == 2) {
    AWQ_LDMATRIX("x2", "%0, %1", "%2", "=r"(r[0]), "=r"(r[1]))
  } else {
    AWQ_LDMATRIX("x1", "%0", "%1", "=r"(r[0]))
  }
#undef AWQ_LDMATRIX
#else
  simt::LoadMatrices(r, kMatrices, row, kTransposed);
#endif
}

// c (16 x 8, fp32) += a (16 x 16) b (16 x 8), of T = Half or Bfloat16. Of lane l, with g = l / 4
// and t = 2 (l % 4): a = pairs (g, t), (g + 8, t), (g, t + 8), (g + 8, t + 8) along k; b = pairs
// along k (t, g), (t + 8, g); c = (g, t), (g, t + 1), (g + 8, t), (g + 8, t + 1).
template <class T>
__device__ __forceinline__ void MultiplyAdd(float (&c)[4], const std::uint32_t (&a)[4],
                                            const std::uint32_t (&b)[2]);

#if defined(__CUDACC__)
#define AWQ_MMA(type)                                                                 \
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." type "." type                 \
               ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};" \
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])                       \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))
#endif

template <>
__device__ __forceinline__ void MultiplyAdd<Half>(float (&c)[4], const std::uint32_t (&a)[4],
                                                  const std::uint32_t (&b)[2]) {
#if defined(__CUDACC__)
  AWQ_MMA("f16");
#else
  simt::MultiplyHalf(c, a, b);
#endif
}

template <>
__device__ __forceinline__ void MultiplyAdd<Bfloat16>(float (&c)[4], const std::uint32_t (&a)[4],
                                                      const std::uint32_t (&b)[2]) {
#if defined(__CUDACC__)
  AWQ_MMA("bf16");
#else
  simt::MultiplyBfloat16(c, a, b);
#endif
}

#undef AWQ_MMA

}  // namespace awq::cuda
