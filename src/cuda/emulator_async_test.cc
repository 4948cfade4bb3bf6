// The emulator's sm_90. What it takes for the hardware's layout rests on two sources that agree,
// and on no hardware yet: PTX ISA 8.x and 9.0 ("Matrix Fragments for wgmma.mma_async.m64nNk16",
// "Matrix Descriptor Format", "Shared Memory Matrix Layout") and CUTLASS 4 (mma_sm90_desc.hpp;
// ALayout_64x16, CLayout_64xN and make_gmma_desc of mma_traits_sm90_gmma.hpp):
//   A: lane l of warp w has rows 16 w + l / 4 (registers 0, 2) and 8 on (1, 3), elements 2 (l % 4)
//      and the next along k (0, 1), and 8 on (2, 3)
//   D: element i of a lane is of row 16 w + l / 4 + 8 (i / 2 % 2), column 8 (i / 4) + 2 (l % 4) + i
//      % 2
//   descriptor: bits 0 to 13 the start, 16 to 29 the leading byte offset, 32 to 45 the stride byte
//      offset, in units of 16 bytes; 62 and 63: 0 none, 1 128 bytes, 2 64 bytes, 3 32 bytes
//   B along k, swizzled by 16 * 2^s bytes (s = 3, 2, 1): a column is a row of so many bytes, 8
//      columns an atom, the next 8 a stride byte offset on; bits 4 to 3 + s of the address are
//      exchanged by its bits from 7 on (CUTLASS's Swizzle<s, 4, 3>)
//   not swizzled: rows of 16 bytes, the next 8 along k a leading byte offset on
#include "cuda/emulator_async.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "cuda/ptx_sm90.h"
#include "cuda/test_orders.h"

namespace awq::cuda {
namespace {

using simt::AllOptions;
using simt::EmulatedLauncher;
using simt::Options;
using simt::Order;

std::string MessageOf(const Fault& fault) { return fault.message; }

std::string Says(const Fault& fault, const char* text) {
  return fault.kind == FaultKind::kFailed && fault.message.find(text) != std::string::npos
             ? ""
             : "found: " + fault.message;
}

// ---- barriers and bulk copies ----

constexpr int kStages = 3;
constexpr int kItems = 8;

// A warp brings items of 512 bytes through a ring, another sums them up.
enum class Mistake { kNone, kNoWaitForFull, kNoWaitForEmpty, kNoFence, kExpectsMore, kNoEnd };

template <Mistake kMistake>
__global__ void RingKernel(const uint4* in, unsigned* out) {
  auto* ring = SharedArray<uint4>();
  auto* full = SharedArray<std::uint64_t>(kStages * 512);
  std::uint64_t* empty = full + kStages;
  if (ThreadInBlock() == 0) {
    for (int i = 0; i < kStages; ++i) {
      MbarrierInit(full + i, 1);
      MbarrierInit(empty + i, 1);
    }
    if (kMistake != Mistake::kNoFence) {
      FenceAsyncProxy();
    }
  }
  __syncthreads();
  if (WarpInBlock() == 1) {
    for (int i = 0; i < kItems && LaneInWarp() == 0; ++i) {
      if (kMistake != Mistake::kNoWaitForEmpty) {
        MbarrierWait(empty + i % kStages, static_cast<unsigned>(i / kStages % 2 ^ 1));
      }
      MbarrierArriveAndExpect(full + i % kStages, kMistake == Mistake::kExpectsMore ? 528 : 512);
      BulkCopy(ring + i % kStages * 32, in + i * 32, 512, full + i % kStages);
    }
  } else {
    unsigned sum = 0;
    const int items = kMistake == Mistake::kNoEnd ? kItems - 2 : kItems;
    for (int i = 0; i < items; ++i) {
      if (kMistake != Mistake::kNoWaitForFull) {
        MbarrierWait(full + i % kStages, static_cast<unsigned>(i / kStages % 2));
      }
      sum += ring[i % kStages * 32 + LaneInWarp()].y;
      __syncwarp();
      if (LaneInWarp() == 0) {
        MbarrierArrive(empty + i % kStages);
      }
    }
    out[LaneInWarp()] = sum;
  }
}

template <Mistake kMistake>
Fault RunRing(std::vector<unsigned>& out, const Options& options = {}) {
  std::vector<uint4> in(kItems * 32);
  for (unsigned i = 0; i < in.size(); ++i) {
    in[i] = make_uint4(0, 1u << i / 32, 0, 0);
  }
  out.assign(32, 0);
  const LaunchShape shape{.threads = 64, .shared_bytes = kStages * 512 + kStages * 16};
  return EmulatedLauncher(options)(RingKernel<kMistake>, shape, in.data(), out.data());
}

TEST(EmulatorAsync, BulkCopiesArriveAtBarriers) {
  std::vector<unsigned> out;
  for (const Options& options : AllOptions()) {
    ASSERT_EQ(MessageOf(RunRing<Mistake::kNone>(out, options)), "");
    EXPECT_EQ(out, std::vector<unsigned>(32, (1u << kItems) - 1));
  }
}

TEST(EmulatorAsync, MistakesWithBarriersShow) {
  std::vector<unsigned> out;
  const std::vector<unsigned> right(32, (1u << kItems) - 1);
  EXPECT_FALSE(MessageOf(RunRing<Mistake::kNoWaitForFull>(out)).empty() && out == right);
  EXPECT_FALSE(MessageOf(RunRing<Mistake::kNoWaitForEmpty>(out)).empty() && out == right);
  EXPECT_EQ(Says(RunRing<Mistake::kNoFence>(out), "without a fence.proxy.async"), "");
  EXPECT_EQ(Says(RunRing<Mistake::kExpectsMore>(out), "waits at mbarrier.try_wait.parity"), "");
  EXPECT_EQ(Says(RunRing<Mistake::kNoEnd>(out), "while cp.async.bulk copies are under way"), "");
}

__global__ void WrongBarrierKernel(int how) {
  auto* barrier = SharedArray<std::uint64_t>();
  if (how != 0) {
    MbarrierInit(barrier, 1);
  }
  if (how == 1) {
    *barrier = 0;
  }
  MbarrierArrive(barrier);
}

__global__ void WrongCopyKernel(const unsigned char* in, int offset, unsigned bytes) {
  auto* barrier = SharedArray<std::uint64_t>();
  MbarrierInit(barrier, 1);
  FenceAsyncProxy();
  BulkCopy(SharedMemory() + 16 + offset, in, bytes, barrier);
}

TEST(EmulatorAsync, FindsWhatNoKernelMayDo) {
  const EmulatedLauncher launch;
  const LaunchShape shape{.threads = 1, .shared_bytes = 48};
  EXPECT_EQ(Says(launch(WrongBarrierKernel, shape, 0), "no mbarrier was initialized"), "");
  EXPECT_EQ(Says(launch(WrongBarrierKernel, shape, 1), "written over"), "");
  EXPECT_EQ(MessageOf(launch(WrongBarrierKernel, shape, 2)), "");
  alignas(16) const unsigned char in[64] = {};
  EXPECT_EQ(Says(launch(WrongCopyKernel, shape, in, 0, 48), "outside of the block's"), "");
  EXPECT_EQ(Says(launch(WrongCopyKernel, shape, in, 8, 16), "no multiple of 16"), "");
  EXPECT_EQ(Says(launch(WrongCopyKernel, shape, in, 0, 8), "no multiple of 16"), "");
  EXPECT_EQ(Says(launch(WrongCopyKernel, shape, in + 8, 0, 16), "no multiple of 16"), "");
}

// ---- products ----

constexpr int kRows = 64, kColumns = 16, kInputs = 32;  // two products

struct Matrices {
  const std::uint16_t* a;  // [row][k]
  const std::uint16_t* b;  // [column][k]
  float* d;                // [row][column]
};

// Where element k of a column is, in bytes, by the definition above; swizzled by 16 * 2^s bytes.
int PlaceOfB(int s, int column, int k) {
  if (s == 0) {  // k / 8 first, then the columns' eights: leading 128, stride 512
    return column / 8 * 512 + k / 8 * 128 + column % 8 * 16 + k % 8 * 2;
  }
  const int width = 16 << s, per_atom = width / 2;  // elements along k
  const int at = k / per_atom * 4096 + column / 8 * 8 * width + column % 8 * width +
                 k % per_atom / 8 * 16 + k % 8 * 2;
  return at ^ ((at >> 7 & ((1 << s) - 1)) << 4);
}

std::uint64_t DescriptorOfB(int s, int k) {
  const auto start = SharedAddress(SharedMemory() + (s == 0   ? k / 8 * 128
                                                     : s == 1 ? k / 16 * 4096
                                                              : k * 2));
  const std::uint64_t stride = s == 0 ? 512 : 128u << s;
  return start >> 4 | std::uint64_t{s == 0 ? 128u / 16 : 1u} << 16 | stride / 16 << 32 |
         std::uint64_t(s == 0 ? 0 : 4 - s) << 62;
}

enum class Slip {
  kNone,
  kNoProxyFence,
  kPlainStore,
  kNoFence,
  kNoWait,
  kOverwrites,
  kChangesA,
  kNoCommit
};

// d = a b twice over, as two products and two that add to them.
template <class T, Slip kSlip>
__global__ void WgmmaKernel(Matrices m, int s) {
  for (int i = ThreadInBlock(); i < kColumns * kInputs / 2; i += 128) {
    const int column = i * 2 / kInputs, k = i * 2 % kInputs;
    unsigned char* to = SharedMemory() + PlaceOfB(s, column, k);
    if constexpr (kSlip == Slip::kPlainStore) {
      std::memcpy(to, m.b + column * kInputs + k, 4);
    } else {
      CopyAsync4(to, m.b + column * kInputs + k);
    }
  }
  CommitCopies();
  WaitCopies<0>();
  if constexpr (kSlip != Slip::kNoProxyFence) {
    FenceAsyncProxy();
  }
  __syncthreads();
  const int lane = LaneInWarp(), row = WarpInBlock() * 16 + lane / 4;
  std::uint32_t a[kInputs / 16][4];
  for (int r = 0; r < kInputs / 16 * 4; ++r) {
    const int at = (row + r % 2 * 8) * kInputs + r / 4 * 16 + r / 2 % 2 * 8 + lane % 4 * 2;
    std::memcpy(&a[r / 4][r % 4], m.a + at, 4);
  }
  float d[kColumns / 8][4];
  if constexpr (kSlip != Slip::kNoFence) {
    WarpgroupFence();
  }
  WarpgroupMultiplyAdd<T, false>(d, a[0], DescriptorOfB(s, 0));
  WarpgroupMultiplyAdd<T, true>(d, a[1], DescriptorOfB(s, 16));
  WarpgroupCommit();
  WarpgroupMultiplyAdd<T, true>(d, a[0], DescriptorOfB(s, 0));
  WarpgroupMultiplyAdd<T, true>(d, a[1], DescriptorOfB(s, 16));
  if constexpr (kSlip != Slip::kNoCommit) {
    WarpgroupCommit();
  }
  if constexpr (kSlip == Slip::kOverwrites) {
    CopyAsync4(SharedMemory() + PlaceOfB(s, WarpInBlock(), 2), m.a);
    CommitCopies();
    WaitCopies<0>();
    FenceAsyncProxy();
    __syncthreads();
  }
  if constexpr (kSlip == Slip::kChangesA) {
    a[1][2] = 0x3c003c00u;
  }
  WarpgroupWait<kSlip == Slip::kNoWait ? 1 : 0>();
  for (int n = 0; n < kColumns / 8; ++n) {
    for (int i = 0; i < 4; ++i) {
      m.d[(row + i / 2 * 8) * kColumns + n * 8 + lane % 4 * 2 + i % 2] = d[n][i];
    }
  }
  WarpgroupWait<0>();
}

template <class T>
struct Problem {
  Problem() {
    for (int i = 0; i < kRows * kInputs; ++i) {  // all products and sums are exact
      a[static_cast<std::size_t>(i)] = FromFloat<T>(static_cast<float>(i * 37 % 31 - 15)).bits;
    }
    for (int i = 0; i < kColumns * kInputs; ++i) {
      b[static_cast<std::size_t>(i)] = FromFloat<T>(static_cast<float>(i * 53 % 29 - 14)).bits;
    }
  }
  template <Slip kSlip>
  Fault Run(int s, const Options& options = {}) {
    const LaunchShape shape{.threads = 128, .shared_bytes = 8192};
    return EmulatedLauncher(options)(WgmmaKernel<T, kSlip>, shape,
                                     Matrices{a.data(), b.data(), d.data()}, s);
  }
  bool IsRight() const {
    for (std::size_t row = 0; row < kRows; ++row) {
      for (std::size_t column = 0; column < kColumns; ++column) {
        float sum = 0;
        for (std::size_t k = 0; k < kInputs; ++k) {
          sum += 2 * ToFloat(T{a[row * kInputs + k]}) * ToFloat(T{b[column * kInputs + k]});
        }
        if (d[row * kColumns + column] != sum) {
          return false;
        }
      }
    }
    return true;
  }

  std::vector<std::uint16_t> a = std::vector<std::uint16_t>(kRows * kInputs);
  std::vector<std::uint16_t> b = std::vector<std::uint16_t>(kColumns * kInputs);
  std::vector<float> d = std::vector<float>(kRows * kColumns);
};

TEST(EmulatorAsync, WarpgroupsMultiplyEverySwizzling) {
  for (const int s : {0, 1, 2, 3}) {
    for (const Options& options : AllOptions()) {
      Problem<Half> half;
      ASSERT_EQ(MessageOf(half.Run<Slip::kNone>(s, options)), "");
      EXPECT_TRUE(half.IsRight()) << s;
      Problem<Bfloat16> bfloat16;
      ASSERT_EQ(MessageOf(bfloat16.Run<Slip::kNone>(s, options)), "");
      EXPECT_TRUE(bfloat16.IsRight()) << s;
    }
  }
}

TEST(EmulatorAsync, MistakesWithProductsShow) {
  Problem<Half> problem;
  EXPECT_EQ(Says(problem.Run<Slip::kNoProxyFence>(3), "without a fence.proxy.async"), "");
  EXPECT_EQ(Says(problem.Run<Slip::kPlainStore>(3), "without a fence.proxy.async"), "");
  EXPECT_EQ(Says(problem.Run<Slip::kNoFence>(3), "without a wgmma.fence"), "");
  EXPECT_EQ(Says(problem.Run<Slip::kNoCommit>(3), "products of warp 0 are under way"), "");
  EXPECT_EQ(MessageOf(problem.Run<Slip::kOverwrites>(3)), "");
  EXPECT_FALSE(problem.IsRight());
  EXPECT_EQ(MessageOf(problem.Run<Slip::kChangesA>(3)), "");
  EXPECT_FALSE(problem.IsRight());
  EXPECT_EQ(MessageOf(problem.Run<Slip::kNoWait>(3)), "");
  EXPECT_FALSE(problem.IsRight());
}

// The first lines of DescribeSwizzled128's layout, written out.
TEST(EmulatorAsync, DescribesSwizzled128) {
  Problem<Half> problem;
  const Fault fault = simt::Run({.threads = 1, .shared_bytes = 4096}, {}, [] {
    if (DescribeSwizzled128(SharedMemory() + 2048) != DescriptorOfB(3, 0) + 2048 / 16 ||
        DescribeSwizzled128(SharedMemory()) + 2 != DescriptorOfB(3, 16)) {
      simt::Trap("another descriptor");
    }
  });
  EXPECT_EQ(MessageOf(fault), "");
  EXPECT_EQ(PlaceOfB(3, 0, 8), 16);
  EXPECT_EQ(PlaceOfB(3, 1, 0), 128 + 16);
  EXPECT_EQ(PlaceOfB(3, 1, 8), 128);
  EXPECT_EQ(PlaceOfB(3, 7, 8), 7 * 128 + 6 * 16);
  EXPECT_EQ(PlaceOfB(3, 8, 0), 1024);
}

__global__ void OneWarpKernel() {
  float d[2][4];
  const std::uint32_t a[4] = {};
  if (WarpInBlock() < 3) {
    WarpgroupFence();
    WarpgroupMultiplyAdd<Half, false>(d, a, DescribeSwizzled128(SharedMemory()));
    WarpgroupCommit();
    WarpgroupWait<0>();
  }
}

TEST(EmulatorAsync, AllWarpsOfAWarpgroupTakePart) {
  const LaunchShape shape{.threads = 128, .shared_bytes = 4096};
  EXPECT_EQ(Says(EmulatedLauncher()(OneWarpKernel, shape), "issue different wgmma products"), "");
}

}  // namespace
}  // namespace awq::cuda
