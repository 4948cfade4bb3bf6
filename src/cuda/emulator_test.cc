#include "cuda/emulator.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "cuda/copy.cuh"
#include "cuda/ptx.h"
#include "cuda/test_orders.h"

namespace awq::cuda {
namespace {

using simt::AllOptions;
using simt::EmulatedLauncher;
using simt::Options;
using simt::Order;

LaunchShape OneBlock(unsigned threads, std::size_t shared_bytes = 0) {
  return {.threads = threads, .shared_bytes = shared_bytes};
}

std::string MessageOf(const Fault& fault) { return fault.message; }

// Each thread writes its number and reads its mirror image's.
template <bool kBarrier>
__global__ void MirrorKernel(float* out) {
  float* shared = SharedArray<float>();
  shared[threadIdx.x] = static_cast<float>(threadIdx.x);
  if constexpr (kBarrier) {
    __syncthreads();
  }
  out[threadIdx.x] = shared[blockDim.x - 1 - threadIdx.x];
}

TEST(Emulator, BarriersHoldAndTheirLackShows) {
  for (const Options& options : AllOptions()) {
    std::vector<float> out(96);
    ASSERT_EQ(
        MessageOf(EmulatedLauncher(options)(MirrorKernel<true>, OneBlock(96, 384), out.data())),
        "");
    for (std::size_t i = 0; i < out.size(); ++i) {
      EXPECT_EQ(out[i], static_cast<float>(95 - i));
    }
    ASSERT_EQ(
        MessageOf(EmulatedLauncher(options)(MirrorKernel<false>, OneBlock(96, 384), out.data())),
        "");
    EXPECT_TRUE(std::any_of(out.begin(), out.end(), [](float x) { return x != x; }));
  }
}

__global__ void LanesKernel(int* out) {
  const int lane = LaneInWarp();
  int* mine = out + threadIdx.x * 6;
  mine[0] = __shfl_xor_sync(kAllLanes, lane, 5);
  mine[1] = __shfl_down_sync(kAllLanes, lane, 3);
  mine[2] = __shfl_up_sync(kAllLanes, lane, 3);
  mine[3] = __shfl_sync(kAllLanes, lane, 7);
  mine[4] = static_cast<int>(__ballot_sync(kAllLanes, lane % 3 == 0));
  if (lane < 16) {
    mine[5] = __shfl_xor_sync(0xffffu, lane, 8);
  }
}

TEST(Emulator, LanesExchangeValues) {
  for (const Options& options : AllOptions()) {
    std::vector<int> out(64 * 6, -1);
    ASSERT_EQ(MessageOf(EmulatedLauncher(options)(LanesKernel, OneBlock(64), out.data())), "");
    for (int i = 0; i < 64; ++i) {
      const int lane = i % 32;
      const int* mine = &out[static_cast<std::size_t>(i) * 6];
      EXPECT_EQ(mine[0], lane ^ 5);
      EXPECT_EQ(mine[1], lane + 3 < 32 ? lane + 3 : lane);
      EXPECT_EQ(mine[2], lane < 3 ? lane : lane - 3);
      EXPECT_EQ(mine[3], 7);
      EXPECT_EQ(mine[4], 0x49249249);
      EXPECT_EQ(mine[5], lane < 16 ? lane ^ 8 : -1);
    }
  }
}

// Every block has its number from the grid, every thread is run once.
__global__ void CountKernel(int* counts) {
  const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  atomicAdd(&counts[block], 1);
}

TEST(Emulator, RunsTheWholeGrid) {
  for (const Options& options : AllOptions()) {
    std::vector<int> counts(2 * 3 * 4);
    const LaunchShape shape{.blocks = {2, 3, 4}, .threads = 40};
    ASSERT_EQ(MessageOf(EmulatedLauncher(options)(CountKernel, shape, counts.data())), "");
    EXPECT_EQ(counts, std::vector<int>(24, 40));
  }
}

// Two stages of copies; kWaits says how many of them it waits for.
template <int kWaits>
__global__ void StagesKernel(const uint4* in, uint4* out) {
  uint4* shared = SharedArray<uint4>();
  for (unsigned stage = 0; stage < 2; ++stage) {
    CopyAsync16(&shared[stage * 32 + threadIdx.x], in + stage * 32 + threadIdx.x,
                threadIdx.x != 31);
    CommitCopies();
  }
  if constexpr (kWaits >= 1) {
    WaitCopies<2 - kWaits>();
  }
  __syncwarp();
  for (unsigned stage = 0; stage < 2; ++stage) {
    out[stage * 32 + threadIdx.x] = shared[stage * 32 + (threadIdx.x ^ 1u)];
  }
  __syncwarp();
  WaitCopies<0>();
}

TEST(Emulator, CopiesAreThereOnlyWhenWaitedFor) {
  std::vector<uint4> in(64);
  for (unsigned i = 0; i < 64; ++i) {
    in[i] = make_uint4(i, i, i, i);
  }
  const auto expected = [](unsigned i) { return (i ^ 1u) % 32 == 31 ? 0u : i ^ 1u; };
  std::vector<uint4> out(64);
  const LaunchShape shape = OneBlock(32, 1024);
  ASSERT_EQ(MessageOf(EmulatedLauncher()(StagesKernel<2>, shape, in.data(), out.data())), "");
  for (unsigned i = 0; i < 64; ++i) {
    EXPECT_EQ(out[i].w, expected(i));
  }
  ASSERT_EQ(MessageOf(EmulatedLauncher()(StagesKernel<1>, shape, in.data(), out.data())), "");
  EXPECT_EQ(out[5].x, expected(5));
  EXPECT_EQ(out[37].x, 0xffffffffu);
  ASSERT_EQ(MessageOf(EmulatedLauncher()(StagesKernel<0>, shape, in.data(), out.data())), "");
  EXPECT_EQ(out[5].x, 0xffffffffu);
}

__global__ void NeverWaitsKernel(const uint4* in) {
  CopyAsync16(SharedMemory(), in);
  CommitCopies();
}

__global__ void CopiesOutsideKernel(const uint4* in) {
  CopyAsync16(SharedMemory() + 16 * threadIdx.x, in);
  CommitCopies();
  WaitCopies<0>();
}

__global__ void MisalignedKernel(const uint4* in) { CopyAsync16(SharedMemory() + 8, in); }

__global__ void WritesOutsideKernel(int at) { SharedArray<float>()[at] = 0.0f; }

__global__ void OneIsMissingKernel() {
  if (threadIdx.x != 3) {
    __syncthreads();
  }
}

__global__ void WaysPartKernel(int* out) {
  if (threadIdx.x < 16) {
    out[threadIdx.x] = __shfl_xor_sync(kAllLanes, 1, 1);
  } else {
    out[threadIdx.x] = static_cast<int>(__ballot_sync(kAllLanes, true));
  }
}

TEST(Emulator, FindsWhatNoKernelMayDo) {
  const std::vector<uint4> in(64);
  const EmulatedLauncher launch;
  const auto says = [](const Fault& fault, const char* text) {
    return fault.kind == FaultKind::kFailed && fault.message.find(text) != std::string::npos
               ? ""
               : "found: " + fault.message;
  };
  EXPECT_EQ(says(launch(NeverWaitsKernel, OneBlock(1, 16), in.data()), "under way"), "");
  EXPECT_EQ(says(launch(CopiesOutsideKernel, OneBlock(5, 64), in.data()),
                 "thread 4: cp.async outside of the block's 64 bytes"),
            "");
  EXPECT_EQ(says(launch(MisalignedKernel, OneBlock(1, 64), in.data()), "no multiple of 16"), "");
  EXPECT_EQ(says(launch(OneIsMissingKernel, OneBlock(8)), "thread 3 has ended"), "");
  std::vector<int> out(32);
  EXPECT_EQ(says(launch(WaysPartKernel, OneBlock(32), out.data()), "while other lanes"), "");
  EXPECT_EQ(MessageOf(launch(WritesOutsideKernel, OneBlock(1, 40), 9)), "");
  EXPECT_EQ(says(launch(WritesOutsideKernel, OneBlock(1, 40), 10), "wrote outside"), "");
  EXPECT_EQ(says(launch(WritesOutsideKernel, OneBlock(1, 40), -1), "wrote outside"), "");
}

// c = a b of 16 x 16 and 16 x 8, a row after row, b column after column.
template <class T>
__global__ void ProductKernel(const T* a, const T* b, float* c) {
  const int lane = LaneInWarp();
  uint4* shared = SharedArray<uint4>();
  shared[lane] = reinterpret_cast<const uint4*>(a)[lane];
  if (lane < 16) {
    shared[32 + lane] = reinterpret_cast<const uint4*>(b)[lane];
  }
  __syncwarp();
  std::uint32_t a_part[4], b_part[2];
  // Matrices of A: rows 0-7, rows 8-15, then the same 8 columns further; 2 vectors a row.
  LoadMatrices<4>(a_part, &shared[(lane % 16) * 2 + lane / 16]);
  LoadMatrices<2>(b_part, &shared[32 + lane % 8 * 2 + lane / 8 % 2]);
  float sums[4] = {};
  MultiplyAdd<T>(sums, a_part, b_part);
  for (int i = 0; i < 4; ++i) {
    c[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = sums[i];
  }
}

template <class T>
void ExpectProduct() {
  std::vector<T> a(256), b(128);
  for (int i = 0; i < 256; ++i) {  // all products and sums are exact
    a[static_cast<std::size_t>(i)] = FromFloat<T>(static_cast<float>(i * 37 % 31 - 15));
    b[static_cast<std::size_t>(i) % 128] = FromFloat<T>(static_cast<float>(i * 53 % 29 - 14));
  }
  std::vector<float> c(128);
  ASSERT_EQ(MessageOf(EmulatedLauncher()(ProductKernel<T>, OneBlock(32, 768), a.data(), b.data(),
                                         c.data())),
            "");
  for (std::size_t row = 0; row < 16; ++row) {
    for (std::size_t column = 0; column < 8; ++column) {
      float sum = 0;
      for (std::size_t k = 0; k < 16; ++k) {
        sum += ToFloat(a[row * 16 + k]) * ToFloat(b[column * 16 + k]);
      }
      EXPECT_EQ(c[row * 8 + column], sum) << row << " " << column;
    }
  }
}

TEST(Emulator, MatricesAreMultiplied) {
  ExpectProduct<Half>();
  ExpectProduct<Bfloat16>();
}

// Lane l holds elements 2 (l % 4), 2 (l % 4) + 1 of column l / 4.
__global__ void TransposeKernel(const std::uint16_t* in, std::uint16_t* out) {
  const int lane = LaneInWarp();
  uint4* shared = SharedArray<uint4>();
  shared[lane] = reinterpret_cast<const uint4*>(in)[lane];
  __syncwarp();
  std::uint32_t part[4];
  LoadMatrices<4, true>(part, &shared[lane]);
  for (int m = 0; m < 4; ++m) {
    std::memcpy(out + m * 64 + lane / 4 * 8 + lane % 4 * 2, &part[m], 4);
  }
}

TEST(Emulator, MatricesAreTransposed) {
  std::vector<std::uint16_t> in(256), out(256);
  for (std::size_t i = 0; i < 256; ++i) {
    in[i] = static_cast<std::uint16_t>(i);
  }
  ASSERT_EQ(
      MessageOf(EmulatedLauncher()(TransposeKernel, OneBlock(32, 512), in.data(), out.data())), "");
  for (std::size_t i = 0; i < 256; ++i) {
    EXPECT_EQ(out[i], i / 64 * 64 + i % 8 * 8 + i / 8 % 8);
  }
}

TEST(Copy, CopiesEveryByteAndNoMore) {
  for (const std::size_t vectors : {1u, 255u, 1024u, 1025u, 2500u}) {
    std::vector<uint4> in(vectors), out(vectors + 1, make_uint4(7, 7, 7, 7));
    for (unsigned i = 0; i < vectors; ++i) {
      in[i] = make_uint4(i, i + 1, i + 2, i + 3);
    }
    ASSERT_EQ(MessageOf(LaunchCopy(EmulatedLauncher(), out.data(), in.data(), vectors * 16)), "");
    EXPECT_EQ(std::memcmp(in.data(), out.data(), vectors * 16), 0);
    EXPECT_EQ(out[vectors].x, 7u);
  }
}

}  // namespace
}  // namespace awq::cuda
