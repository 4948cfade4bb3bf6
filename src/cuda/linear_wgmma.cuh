// A linear of 9 to a few hundred tokens on sm_90a: products of warpgroups, fed by a warpgroup of
// their own.
//
// A block has 128 rows, a panel for each of its two multiplying warpgroups, and up to 128 tokens.
// The third warpgroup brings stages of one unit through a ring of shared memory: codes, scales and
// zeros by bulk copies, tokens by copies of 4 bytes, because panels have the inputs in another
// order (weights.h): of each 32 inputs the 4 x 4 pairs are transposed, which no bulk copy does and
// a tensor map, whose rows have 16 bytes at least, cannot say. A multiplying warp dequantizes the
// unit that comes next while the products of this one are under way. Codes minus zeros are exact; a
// product of a group's inputs is summed apart and added times its scale, in fp32, as in
// linear_tile.cuh. Nothing is rounded but fp32 sums.
#pragma once

#include "cuda/dequantize.cuh"
#include "cuda/linear_arguments.h"
#include "cuda/linear_parts.cuh"
#include "cuda/ptx_sm90.h"

namespace awq::cuda {
inline namespace AWQ_CUDA_SIDE {

inline constexpr int kWgmmaPanels = 2;
inline constexpr int kWgmmaRows = kWgmmaPanels * kPanelRows;
inline constexpr int kWarpgroupThreads = 128;
inline constexpr int kWgmmaSumThreads = kWgmmaPanels * kWarpgroupThreads;
inline constexpr int kWgmmaThreads = kWgmmaSumThreads + kWarpgroupThreads;
// Of a thread. What the copying warpgroup gives back of the block's registers must be enough for
// the others, or they wait for ever.
inline constexpr int kWgmmaSumRegisters = 216, kWgmmaCopyRegisters = 64;
inline constexpr int kWgmmaStartRegisters = 65536 / kWgmmaThreads / 8 * 8;
static_assert(kWgmmaSumThreads * kWgmmaSumRegisters + kWarpgroupThreads * kWgmmaCopyRegisters <=
              kWgmmaThreads * kWgmmaStartRegisters);

// Of the shared memory: stages, each of x as 64 inputs a token, the panels' codes, and of each
// group the panels' scales and zeros; then the barriers.
template <int kTokens, int kBits, int kGroupsOfUnit>
struct WgmmaStage {
  static constexpr int kX = kTokens * kUnitInputs * 2;
  static constexpr int kCodes = kBits * 32 * kVectorBytes;  // of a panel
  static constexpr int kScales = kPanelRows * 2, kZeros = kPanelRows;
  static constexpr int kScalesAt = kX + kWgmmaPanels * kCodes;
  static constexpr int kZerosAt = kScalesAt + kWgmmaPanels * kGroupsOfUnit * kScales;
  static constexpr int kCopied = kWgmmaPanels * (kCodes + kGroupsOfUnit * (kScales + kZeros));
  // Where swizzling begins anew.
  static constexpr int kBytes = (kX + kCopied + 1023) / 1024 * 1024;
  // Few tokens: the weights' bytes are what is waited for, about 1 us of them.
  static constexpr int kCount = kTokens <= 32 ? 16 : 8;
  static constexpr int kSharedBytes = kCount * kBytes + 2 * kCount * 8;
  // Copies of tokens that are under way; the other stages are there or wait for their codes.
  static constexpr int kAhead = kCount / 2;
};

template <class Stage>
__device__ __forceinline__ std::uint64_t* FullBarrier(int slot) {
  return SharedArray<std::uint64_t>(Stage::kCount * Stage::kBytes) + slot;
}
template <class Stage>
__device__ __forceinline__ std::uint64_t* EmptyBarrier(int slot) {
  return FullBarrier<Stage>(Stage::kCount + slot);
}

// Where a stage's slot is, and the parity of its turn.
template <class Stage>
struct Turn {
  int slot = 0;
  unsigned parity = 0;

  __device__ __forceinline__ void Next() {
    ++slot;
    if (slot == Stage::kCount) {
      slot = 0;
      parity ^= 1;
    }
  }
};

// ---- the warpgroup that copies ----

// Codes, scales and zeros of a unit, by one thread.
template <int kBits, int kGroupsOfUnit, class Stage>
__device__ __forceinline__ void CopyWeights(unsigned char* stage, const LinearArguments& args,
                                            int unit, std::uint64_t* full) {
  MbarrierArriveAndExpect(full, Stage::kCopied);
  AWQ_UNROLL
  for (int p = 0; p < kWgmmaPanels; ++p) {
    // Rows beyond the last panel are computed of it again, and not written.
    const int panel = min(static_cast<int>(blockIdx.x) * kWgmmaPanels + p, args.panels - 1);
    BulkCopy(stage + Stage::kX + p * Stage::kCodes,
             args.codes + (static_cast<std::size_t>(panel) * static_cast<std::size_t>(args.units) +
                           static_cast<std::size_t>(unit)) *
                              (kBits * 32),
             Stage::kCodes, full);
    AWQ_UNROLL
    for (int i = 0; i < kGroupsOfUnit; ++i) {
      const int group = min(args.GroupOf(2 * unit + i), args.groups - 1);
      const std::size_t from = static_cast<std::size_t>(panel * args.groups + group) * 8;
      const int to = p * kGroupsOfUnit + i;
      BulkCopy(stage + Stage::kScalesAt + to * Stage::kScales, args.scales + from, Stage::kScales,
               full);
      BulkCopy(stage + Stage::kZerosAt + to * Stage::kZeros, args.zeros + from, Stage::kZeros,
               full);
    }
  }
}

// Pair i of a token's unit: with i = 16 s + 4 t + w it is pair t of the 16 bytes 4 s + w, which are
// swizzled. A warp copies a token at a time, from 128 bytes in a row to 32 banks.
__device__ __forceinline__ int PairPlace(int token, int pair) {
  const int chunk = pair / 16 * 4 + pair % 4, word = pair / 4 % 4;
  return token * 32 + (chunk ^ token % 8) * 4 + word;
}

// Tokens of a unit, by four warps; zeros where there are none, whose addresses are not read.
template <int kTokens>
__device__ __forceinline__ void CopyTokens(unsigned char* stage, const LinearArguments& args,
                                           int unit, int warp) {
  const int pair = LaneInWarp(), first = static_cast<int>(blockIdx.y) * kTokens + warp;
  const int input = unit * kUnitInputs + pair * 2;
  const int tokens = input < args.inputs ? args.tokens - first : 0;
  const auto inputs = static_cast<std::size_t>(args.inputs);
  const auto* from = static_cast<const std::uint16_t*>(args.x) +
                     static_cast<std::size_t>(first) * inputs + static_cast<std::size_t>(input);
  auto* to = reinterpret_cast<std::uint32_t*>(stage);
  auto* even = to + PairPlace(warp, pair);
  auto* odd = to + PairPlace(warp + 4, pair);
  constexpr int kNext = 8 * kUnitInputs / 2;  // every 8 tokens places are alike
  AWQ_UNROLL
  for (int i = 0; i < kTokens / 8; ++i) {
    CopyAsync4(even + i * kNext, from, 8 * i < tokens);
    from += 4 * inputs;
    CopyAsync4(odd + i * kNext, from, 8 * i + 4 < tokens);
    from += 4 * inputs;
  }
}

template <int kTokens, int kBits, int kGroupsOfUnit>
__device__ __forceinline__ void BringStages(const LinearArguments& args, int begin, int end) {
  using Stage = WgmmaStage<kTokens, kBits, kGroupsOfUnit>;
  const int warp = WarpInBlock() - kWgmmaSumThreads / 32;
  Turn<Stage> asked, there;
  for (int unit = begin; unit < end + Stage::kAhead; ++unit) {
    if (unit < end) {
      MbarrierWait(EmptyBarrier<Stage>(asked.slot), asked.parity ^ 1);
      unsigned char* stage = SharedMemory() + asked.slot * Stage::kBytes;
      if (ThreadInBlock() == kWgmmaSumThreads) {
        CopyWeights<kBits, kGroupsOfUnit, Stage>(stage, args, unit, FullBarrier<Stage>(asked.slot));
      }
      CopyTokens<kTokens>(stage, args, unit, warp);
      asked.Next();
    }
    CommitCopies();
    WaitCopies<Stage::kAhead>();
    if (unit - Stage::kAhead >= begin) {
      // Each thread makes what it has copied visible to products; the warp arrives once.
      FenceAsyncProxy();
      __syncwarp();
      if (LaneInWarp() == 0) {
        MbarrierArrive(FullBarrier<Stage>(there.slot));
      }
      there.Next();
    }
  }
  WaitCopies<0>();  // of groups without copies
}

// ---- the warpgroups that multiply ----

// A warp's codes of a unit: a block of 16 rows.
template <int kBits>
struct BlockCodes {
  std::uint32_t words[static_cast<std::size_t>(kBits)];
};

template <int kBits>
__device__ __forceinline__ void ReadBlockCodes(BlockCodes<kBits>& codes, const uint4* panel,
                                               int block) {
  if constexpr (kBits % 4 == 0) {
    AWQ_UNROLL
    for (int v = 0; v < kBits / 4; ++v) {
      const uint4 four = panel[(block * (kBits / 4) + v) * 32 + LaneInWarp()];
      codes.words[4 * v] = four.x;
      codes.words[4 * v + 1] = four.y;
      codes.words[4 * v + 2] = four.z;
      codes.words[4 * v + 3] = four.w;
    }
  } else {
    const auto* words = reinterpret_cast<const std::uint32_t*>(panel);
    AWQ_UNROLL
    for (int i = 0; i < kBits; ++i) {
      const int at = block * kBits + i;
      codes.words[i] = words[(at / 4 * 32 + LaneInWarp()) * 4 + at % 4];
    }
  }
}

// A unit's part of A, [product][register], and the scales of a lane's two rows in each group.
template <int kGroupsOfUnit>
struct WgmmaWeights {
  std::uint32_t a[4][4];
  std::uint32_t scales[static_cast<std::size_t>(kGroupsOfUnit)];
};

template <class T, int kTokens, int kBits, int kGroupsOfUnit>
__device__ __forceinline__ void ReadWeights(WgmmaWeights<kGroupsOfUnit>& weights,
                                            const unsigned char* stage) {
  using Stage = WgmmaStage<kTokens, kBits, kGroupsOfUnit>;
  const int panel = WarpInBlock() / 4, block = WarpInBlock() % 4;
  BlockCodes<kBits> codes;
  ReadBlockCodes(codes, reinterpret_cast<const uint4*>(stage + Stage::kX + panel * Stage::kCodes),
                 block);
  const int row = LaneInWarp() / 4 * 4 + block;  // pairs of rows r and r + 8
  std::uint32_t zeros[static_cast<std::size_t>(kGroupsOfUnit)];
  AWQ_UNROLL
  for (int i = 0; i < kGroupsOfUnit; ++i) {
    const int at = panel * kGroupsOfUnit + i;
    weights.scales[i] =
        reinterpret_cast<const std::uint32_t*>(stage + Stage::kScalesAt + at * Stage::kScales)[row];
    zeros[i] =
        reinterpret_cast<const std::uint16_t*>(stage + Stage::kZerosAt + at * Stage::kZeros)[row];
  }
  AWQ_UNROLL
  for (int j = 0; j < 4; ++j) {
    AWQ_UNROLL
    for (int r = 0; r < 4; ++r) {
      const std::uint32_t minus_zero =
          MinusZero<T, kBits>(zeros[j * kGroupsOfUnit / 4], static_cast<unsigned>(r % 2), r % 2);
      weights.a[j][r] = Dequantize<T, kBits>(codes, 0, j, r, minus_zero);
    }
  }
}

// A lane's sums of two rows: [tokens / 8][element of C].
template <int kTokens>
struct WgmmaSums {
  static constexpr int kCount = kTokens / 8 * 4;
  float of[static_cast<std::size_t>(kTokens / 8)][4];
};

// c = a group's weights times x, begun.
template <class T, int kGroup, int kTokens, int kGroupsOfUnit>
__device__ __forceinline__ void BeginGroup(WgmmaSums<kTokens>& c,
                                           WgmmaWeights<kGroupsOfUnit>& weights, std::uint64_t x) {
  constexpr int kProducts = 4 / kGroupsOfUnit, kFirst = kGroup * kProducts;
  AWQ_UNROLL
  for (int i = 0; i < kProducts * 4; ++i) {
    PinRegister(weights.a[kFirst + i / 4][i % 4]);
  }
  AWQ_UNROLL
  for (int i = 0; i < c.kCount; ++i) {
    PinRegister(c.of[i / 4][i % 4]);
  }
  WarpgroupFence();
  WarpgroupMultiplyAdd<T, false>(c.of, weights.a[kFirst], x + 2 * kFirst);
  AWQ_UNROLL
  for (int j = kFirst + 1; j < kFirst + kProducts; ++j) {
    WarpgroupMultiplyAdd<T, true>(c.of, weights.a[j], x + static_cast<unsigned>(2 * j));
  }
  WarpgroupCommit();
}

template <int kTokens>
__device__ __forceinline__ void WaitForGroup(WgmmaSums<kTokens>& c) {
  WarpgroupWait<0>();
  AWQ_UNROLL
  for (int i = 0; i < c.kCount; ++i) {
    PinRegister(c.of[i / 4][i % 4]);
  }
}

template <int kTokens>
__device__ __forceinline__ void AddScaled(WgmmaSums<kTokens>& sums, const WgmmaSums<kTokens>& c,
                                          std::uint32_t scales) {
  const float low = ToFloat(Half{static_cast<std::uint16_t>(scales & 0xffffu)});
  const float high = ToFloat(Half{static_cast<std::uint16_t>(scales >> 16)});
  AWQ_UNROLL
  for (int i = 0; i < sums.kCount; ++i) {
    sums.of[i / 4][i % 4] += (i / 2 % 2 == 0 ? low : high) * c.of[i / 4][i % 4];
  }
}

template <class T, int kTokens, int kBits, int kGroupsOfUnit>
__device__ __forceinline__ void MultiplyStages(WgmmaSums<kTokens>& sums, int begin, int end) {
  using Stage = WgmmaStage<kTokens, kBits, kGroupsOfUnit>;
  Turn<Stage> turn;
  WgmmaSums<kTokens> c = {};
  WgmmaWeights<kGroupsOfUnit> weights, next;
  MbarrierWait(FullBarrier<Stage>(0), 0);
  ReadWeights<T, kTokens, kBits>(weights, SharedMemory());
  for (int unit = begin; unit < end; ++unit) {
    const int slot = turn.slot;
    turn.Next();
    const std::uint64_t x = DescribeSwizzled128(SharedMemory() + slot * Stage::kBytes);
    if constexpr (kGroupsOfUnit == 2) {
      BeginGroup<T, 0>(c, weights, x);
      WaitForGroup(c);
      AddScaled(sums, c, weights.scales[0]);
    }
    BeginGroup<T, kGroupsOfUnit - 1>(c, weights, x);
    const bool has_next = unit + 1 < end;
    if (has_next) {  // while the products are under way
      MbarrierWait(FullBarrier<Stage>(turn.slot), turn.parity);
      ReadWeights<T, kTokens, kBits>(next, SharedMemory() + turn.slot * Stage::kBytes);
    }
    WaitForGroup(c);
    __syncwarp();
    if (LaneInWarp() == 0) {  // the codes of this unit were read a turn ago
      MbarrierArrive(EmptyBarrier<Stage>(slot));
    }
    AddScaled(sums, c, weights.scales[kGroupsOfUnit - 1]);
    if (has_next) {
      weights = next;
    }
  }
}

template <class T, int kTokens>
__device__ __forceinline__ void WriteWgmma(const LinearArguments& args,
                                           const WgmmaSums<kTokens>& sums) {
  const int lane = LaneInWarp();
  const int row = static_cast<int>(blockIdx.x) * kWgmmaRows + WarpInBlock() * 16 + lane / 4;
  const int token = static_cast<int>(blockIdx.y) * kTokens + lane % 4 * 2;
  AWQ_UNROLL
  for (int i = 0; i < sums.kCount; ++i) {
    WriteOutput<T>(args, token + i / 4 * 8 + i % 2, row + i / 2 % 2 * 8, sums.of[i / 4][i % 4]);
  }
}

template <class Stage>
__device__ __forceinline__ void StartBarriers() {
  if (ThreadInBlock() == 0) {
    for (int slot = 0; slot < Stage::kCount; ++slot) {
      MbarrierInit(FullBarrier<Stage>(slot), 1 + kWarpgroupThreads / 32);
      MbarrierInit(EmptyBarrier<Stage>(slot), kWgmmaSumThreads / 32);
    }
    FenceAsyncProxy();
  }
  __syncthreads();
}

// Grid: tiles of rows, tiles of tokens, parts of the units.
template <class T, int kTokens, int kBits, int kGroupsOfUnit>
__global__ void __launch_bounds__(kWgmmaThreads, 1)
    WgmmaKernel(LinearArguments args, Workspace work) {
  if constexpr (kHasWarpgroups) {
    using Stage = WgmmaStage<kTokens, kBits, kGroupsOfUnit>;
    const auto part = static_cast<int>(blockIdx.z), parts = static_cast<int>(gridDim.z);
    const int begin = args.units * part / parts, end = args.units * (part + 1) / parts;
    StartBarriers<Stage>();
    if (ThreadInBlock() >= kWgmmaSumThreads) {
      LowerRegisters<kWgmmaCopyRegisters>();
      BringStages<kTokens, kBits, kGroupsOfUnit>(args, begin, end);
    } else {
      RaiseRegisters<kWgmmaSumRegisters>();
      WgmmaSums<kTokens> sums = {};
      MultiplyStages<T, kTokens, kBits, kGroupsOfUnit>(sums, begin, end);
      MeetThreads<1>(kWgmmaSumThreads);  // nobody reads stages any more
      if (parts == 1 || AddBlocks<WgmmaSums<kTokens>::kCount, kWgmmaSumThreads>(
                            &sums.of[0][0], work, SharedArray<int>())) {
        WriteWgmma<T, kTokens>(args, sums);
      }
    }
  }
}

// Shares of a tile's units: so many that all blocks run at once, each with 8 units or more.
inline int WgmmaParts(const LinearArguments& args, int tiles, int multiprocessors) {
  return max(1, min(multiprocessors / tiles, args.units / 8));
}

template <class T, int kTokens, int kBits, int kGroupsOfUnit, class Launcher>
Fault LaunchWgmmaOf(const Launcher& launcher, const LinearArguments& args, const Workspace& work,
                    int multiprocessors) {
  using Stage = WgmmaStage<kTokens, kBits, kGroupsOfUnit>;
  static_assert(Stage::kSharedBytes <= 227 << 10);
  LaunchShape shape;
  shape.blocks.x = static_cast<unsigned>((args.panels + kWgmmaPanels - 1) / kWgmmaPanels);
  shape.blocks.y = static_cast<unsigned>((args.tokens + kTokens - 1) / kTokens);
  shape.blocks.z = static_cast<unsigned>(
      WgmmaParts(args, static_cast<int>(shape.blocks.x * shape.blocks.y), multiprocessors));
  shape.threads = kWgmmaThreads;
  shape.shared_bytes = Stage::kSharedBytes;
  return launcher(WgmmaKernel<T, kTokens, kBits, kGroupsOfUnit>, shape, args, work);
}

template <class T, int kTokens, int kBits, class Launcher>
Fault LaunchWgmmaGroups(const Launcher& launcher, const LinearArguments& args,
                        const Workspace& work, int multiprocessors) {
  return args.group_inputs % kUnitInputs == 0 || args.groups == 1
             ? LaunchWgmmaOf<T, kTokens, kBits, 1>(launcher, args, work, multiprocessors)
             : LaunchWgmmaOf<T, kTokens, kBits, 2>(launcher, args, work, multiprocessors);
}

template <class T, int kTokens, class Launcher>
Fault LaunchWgmma(const Launcher& launcher, const LinearCall& call, const Workspace& work,
                  int multiprocessors) {
  const LinearArguments args = ArgumentsOf(call);
  switch (call.weights.shape.bits) {
    case 3:
      return LaunchWgmmaGroups<T, kTokens, 3>(launcher, args, work, multiprocessors);
    case 4:
      return LaunchWgmmaGroups<T, kTokens, 4>(launcher, args, work, multiprocessors);
    default:
      return LaunchWgmmaGroups<T, kTokens, 8>(launcher, args, work, multiprocessors);
  }
}

}  // namespace AWQ_CUDA_SIDE
}  // namespace awq::cuda
