// Instructions of sm_90 and sm_90a as ptx.h has others: barriers in shared memory, bulk copies and
// products of a warpgroup. Where nvcc compiles for anything but sm_90a they are nothing: a kernel
// asks kHasWarpgroups.
//
// Sources: PTX ISA 8.x and 9.0, "Matrix Fragments for wgmma.mma_async.m64nNk16", "Matrix Descriptor
// Format" and "Async Proxy" of "Asynchronous Warpgroup Level Matrix Instructions"; CUTLASS 4's
// cute/arch/mma_sm90_desc.hpp and cute/atom/mma_traits_sm90_gmma.hpp (ALayout_64x16, CLayout_64xN,
// the canonical layouts of make_gmma_desc) say the same.
#pragma once

#include <type_traits>

#include "cuda/ptx.h"

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define AWQ_PTX_SM90A(...) asm volatile(__VA_ARGS__)
#define AWQ_EMULATED(...) static_cast<void>(0)
#elif defined(__CUDACC__)
#define AWQ_PTX_SM90A(...) static_cast<void>(0)
#define AWQ_EMULATED(...) static_cast<void>(0)
#else
#define AWQ_PTX_SM90A(...) static_cast<void>(0)
#define AWQ_EMULATED(...) __VA_ARGS__
#endif

namespace awq::cuda {

#if defined(__CUDA_ARCH_FEAT_SM90_ALL) || !defined(__CUDACC__)
inline constexpr bool kHasWarpgroups = true;
#else
inline constexpr bool kHasWarpgroups = false;
#endif

#if !defined(__CUDACC__)
using simt::SharedAddress;
#endif

// ---- barriers ----

// An mbarrier in shared memory: a phase is over after so many arrivals, when the bytes are there
// that were expected. Others see it after a barrier, bulk copies after FenceAsyncProxy.
__device__ __forceinline__ void MbarrierInit([[maybe_unused]] std::uint64_t* shared,
                                             [[maybe_unused]] unsigned arrivals) {
  AWQ_PTX_SM90A("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(SharedAddress(shared)),
                "r"(arrivals)
                : "memory");
  AWQ_EMULATED(simt::MbarrierInit(shared, arrivals));
}

__device__ __forceinline__ void MbarrierArrive([[maybe_unused]] std::uint64_t* shared) {
  AWQ_PTX_SM90A("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(SharedAddress(shared)) : "memory");
  AWQ_EMULATED(simt::MbarrierArrive(shared));
}

// An arrival; the phase waits for so many bytes more.
__device__ __forceinline__ void MbarrierArriveAndExpect([[maybe_unused]] std::uint64_t* shared,
                                                        [[maybe_unused]] unsigned bytes) {
  AWQ_PTX_SM90A(
      "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(SharedAddress(shared)),
      "r"(bytes)
      : "memory");
  AWQ_EMULATED(simt::MbarrierArriveAndExpect(shared, bytes));
}

// Until the phase of this parity is over. The first phase has parity 0; parity 1 is over before it.
__device__ __forceinline__ void MbarrierWait([[maybe_unused]] std::uint64_t* shared,
                                             [[maybe_unused]] unsigned parity) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  std::uint32_t is_over = 0;
  do {
    asm volatile(
        "{\n"
        ".reg .pred p;\n"
        "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
        "selp.u32 %0, 1, 0, p;\n"
        "}"
        : "=r"(is_over)
        : "r"(SharedAddress(shared)), "r"(parity)
        : "memory");
  } while (is_over == 0);
#endif
  AWQ_EMULATED(simt::MbarrierWait(shared, parity));
}

// `threads` threads, a multiple of 32, meet: bar.sync kId, which is not __syncthreads' 0.
template <unsigned kId>
__device__ __forceinline__ void MeetThreads(unsigned threads) {
  static_assert(kId > 0 && kId < 16);
#if defined(__CUDACC__)
  asm volatile("bar.sync %0, %1;" ::"n"(kId), "r"(threads) : "memory");
#else
  simt::Barrier(kId, threads);
#endif
}

// ---- the asynchronous proxy ----

// What this thread has written to shared memory is there for bulk copies and products that come
// after it.
__device__ __forceinline__ void FenceAsyncProxy() {
  AWQ_PTX_SM90A("fence.proxy.async.shared::cta;" ::: "memory");
  AWQ_EMULATED(simt::FenceAsyncProxy());
}

// A multiple of 16 bytes, from and to addresses that are multiples of 16; the barrier gets as many
// bytes.
__device__ __forceinline__ void BulkCopy([[maybe_unused]] void* shared,
                                         [[maybe_unused]] const void* global,
                                         [[maybe_unused]] unsigned bytes,
                                         [[maybe_unused]] std::uint64_t* mbarrier) {
  AWQ_PTX_SM90A(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(SharedAddress(shared)),
      "l"(global), "r"(bytes), "r"(SharedAddress(mbarrier))
      : "memory");
  AWQ_EMULATED(simt::BulkCopy(shared, global, bytes, mbarrier));
}

// ---- registers ----

// What a warpgroup has of the multiprocessor's registers for a thread: all its warps ask at once.
template <int kRegisters>
__device__ __forceinline__ void RaiseRegisters() {
  static_assert(kRegisters % 8 == 0 && kRegisters >= 24 && kRegisters <= 256);
  AWQ_PTX_SM90A("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ __forceinline__ void LowerRegisters() {
  static_assert(kRegisters % 8 == 0 && kRegisters >= 24 && kRegisters <= 256);
  AWQ_PTX_SM90A("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

// The compiler finishes what it computes of a register before, and begins what uses it after.
__device__ __forceinline__ void PinRegister([[maybe_unused]] float& x) {
  AWQ_PTX_SM90A("" : "+f"(x)::"memory");
}
__device__ __forceinline__ void PinRegister([[maybe_unused]] std::uint32_t& x) {
  AWQ_PTX_SM90A("" : "+r"(x)::"memory");
}

// ---- products of a warpgroup (sm_90a) ----

// Registers that were touched since the last one, before products take them.
__device__ __forceinline__ void WarpgroupFence() {
  AWQ_PTX_SM90A("wgmma.fence.sync.aligned;" ::: "memory");
  AWQ_EMULATED(simt::WarpgroupFence());
}
__device__ __forceinline__ void WarpgroupCommit() {
  AWQ_PTX_SM90A("wgmma.commit_group.sync.aligned;" ::: "memory");
  AWQ_EMULATED(simt::WarpgroupCommit());
}
// All but the kNewest newest groups of products are done.
template <int kNewest>
__device__ __forceinline__ void WarpgroupWait() {
  AWQ_PTX_SM90A("wgmma.wait_group.sync.aligned %0;" ::"n"(kNewest) : "memory");
  AWQ_EMULATED(simt::WarpgroupWait(kNewest));
}

// B whose columns are rows of 128 bytes in shared memory (64 16-bit elements along k), from an
// address that is a multiple of 1024 on, and whose 16 bytes c of column n are at n % 8 ^ c: a
// product takes 16 elements along k, and the next are 2 on (32 bytes). Bits: the start in units of
// 16 bytes; a leading byte offset of 1, which is not used; 1024 bytes from 8 columns to the next 8;
// swizzling 1, of 128 bytes.
__device__ __forceinline__ std::uint64_t DescribeSwizzled128(const void* shared) {
  constexpr std::uint64_t kRest = 1ull << 16 | 1024ull / 16 << 32 | 1ull << 62;
  return kRest | (SharedAddress(shared) & 0x3ffffu) >> 4;
}

#define AWQ_F4(i) "+f"(c[i][0]), "+f"(c[i][1]), "+f"(c[i][2]), "+f"(c[i][3])
#define AWQ_F8(i) AWQ_F4(i), AWQ_F4((i) + 1)
#define AWQ_F16(i) AWQ_F8(i), AWQ_F8((i) + 2)
#define AWQ_F32(i) AWQ_F16(i), AWQ_F16((i) + 4)
#define AWQ_F64(i) AWQ_F32(i), AWQ_F32((i) + 8)
#define AWQ_N8 "%0, %1, %2, %3, %4, %5, %6, %7"
#define AWQ_N16 AWQ_N8 ", %8, %9, %10, %11, %12, %13, %14, %15"
#define AWQ_N32                                                       \
  AWQ_N16                                                             \
  ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28" \
  ", %29, %30, %31"
#define AWQ_N64                                                       \
  AWQ_N32                                                             \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44" \
  ", %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57" \
  ", %58, %59, %60, %61, %62, %63"
// a0 to scale: numbers of the operands after the sums.
#define AWQ_WGMMA(columns, type, sums, outputs, a0, a1, a2, a3, b, scale)                        \
  AWQ_PTX_SM90A(                                                                                 \
      "{\n"                                                                                      \
      ".reg .pred p;\n"                                                                          \
      "setp.ne.b32 p, " scale                                                                    \
      ", 0;\n"                                                                                   \
      "wgmma.mma_async.sync.aligned.m64n" columns "k16.f32." type "." type " {" sums "}, {" a0   \
      ", " a1 ", " a2 ", " a3 "}, " b                                                            \
      ", p, 1, 1, 0;\n"                                                                          \
      "}"                                                                                        \
      : outputs                                                                                  \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b_descriptor), "n"(kAccumulates ? 1 : 0) \
      : "memory")
#define AWQ_WGMMA_OF(type)                                                                 \
  if constexpr (kColumns == 16) {                                                          \
    AWQ_WGMMA("16", type, AWQ_N8, AWQ_F8(0), "%8", "%9", "%10", "%11", "%12", "%13");      \
  } else if constexpr (kColumns == 32) {                                                   \
    AWQ_WGMMA("32", type, AWQ_N16, AWQ_F16(0), "%16", "%17", "%18", "%19", "%20", "%21");  \
  } else if constexpr (kColumns == 64) {                                                   \
    AWQ_WGMMA("64", type, AWQ_N32, AWQ_F32(0), "%32", "%33", "%34", "%35", "%36", "%37");  \
  } else {                                                                                 \
    AWQ_WGMMA("128", type, AWQ_N64, AWQ_F64(0), "%64", "%65", "%66", "%67", "%68", "%69"); \
  }

// c (64 x kColumns, fp32) += or, unless kAccumulates, = a (64 x 16) b (16 x kColumns). Warp w of
// the warpgroup has rows 16 w and on, of each the fragments that MultiplyAdd has: c[n] of columns 8
// n and on. c and a are not touched, and b not overwritten, before WarpgroupWait.
template <class T, bool kAccumulates, std::size_t kTiles>
__device__ __forceinline__ void WarpgroupMultiplyAdd([[maybe_unused]] float (&c)[kTiles][4],
                                                     [[maybe_unused]] const std::uint32_t (&a)[4],
                                                     [[maybe_unused]] std::uint64_t b_descriptor) {
  constexpr int kColumns = 8 * static_cast<int>(kTiles);
  static_assert(kColumns == 16 || kColumns == 32 || kColumns == 64 || kColumns == 128);
  constexpr bool kIsHalf = std::is_same_v<T, Half>;
  if constexpr (kIsHalf) {
    AWQ_WGMMA_OF("f16")
  } else {
    AWQ_WGMMA_OF("bf16")
  }
  AWQ_EMULATED(simt::WarpgroupMultiply(&c[0][0], kColumns, a, b_descriptor, kAccumulates, kIsHalf));
}

#undef AWQ_WGMMA_OF
#undef AWQ_WGMMA
#undef AWQ_N64
#undef AWQ_N32
#undef AWQ_N16
#undef AWQ_N8
#undef AWQ_F64
#undef AWQ_F32
#undef AWQ_F16
#undef AWQ_F8
#undef AWQ_F4
#undef AWQ_EMULATED
#undef AWQ_PTX_SM90A

}  // namespace awq::cuda
