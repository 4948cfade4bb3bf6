// A linear of 9 to a few hundred tokens: tensor cores fed by asynchronous copies.
//
// A block has 128 rows (two panels) and up to 64 tokens. Each of its 4 warps has 32 rows: it
// dequantizes their part of a unit once, in registers, and multiplies it by all tokens of the tile.
// A product of a group's inputs is summed apart and added times its scale, in fp32. Stages of one
// unit each are copied kTileStages - 1 ahead. Where there are too few tiles for the device, several
// blocks share the units of one; the last to arrive adds their sums in their order.
#pragma once

#include "cuda/dequantize.cuh"
#include "cuda/linear_arguments.h"
#include "cuda/linear_parts.cuh"

namespace awq::cuda {
inline namespace AWQ_CUDA_SIDE {

inline constexpr int kTilePanels = 2;
inline constexpr int kTileRows = kTilePanels * kPanelRows;
inline constexpr int kTileThreads = 128;
inline constexpr int kTileStages = 4;
inline constexpr int kTileBlocksEach = 2;  // of a multiprocessor

// Of one stage: x as [token][8 chunks of 8 inputs], then codes as [panel][vector][lane].
template <int kTokens>
inline constexpr int kTileChunks = kTokens* kUnitInputs / 8;
template <int kBits>
inline constexpr int kTileVectors = kTilePanels* kBits * 32;
template <int kTokens, int kBits>
inline constexpr int kTileStageVectors = kTileChunks<kTokens> + kTileVectors<kBits>;

// Odd tokens have the halves of their row exchanged: 8 lanes that read 16 bytes each at a time read
// two tokens, from different banks.
__device__ __forceinline__ int ChunkPlace(int token, int chunk) {
  return token * 8 + (chunk ^ (token % 2 * 4));
}

template <int kTokens, int kBits>
__device__ __forceinline__ void CopyStage(uint4* stage, const LinearArguments& args, int unit) {
  const auto* x = static_cast<const std::uint16_t*>(args.x);
  AWQ_UNROLL
  for (int i = 0; i < kTileChunks<kTokens> / kTileThreads; ++i) {
    const int at = i * kTileThreads + ThreadInBlock();
    const int token = static_cast<int>(blockIdx.y) * kTokens + at / 8;
    const int input = unit * kUnitInputs + at % 8 * 8;
    const bool exists = token < args.tokens && input < args.inputs;
    const std::size_t from =
        static_cast<std::size_t>(exists ? token : 0) * static_cast<std::size_t>(args.inputs) +
        static_cast<std::size_t>(exists ? input : 0);
    CopyAsync16(stage + ChunkPlace(at / 8, at % 8), x + from, exists);
  }
  AWQ_UNROLL
  for (int i = 0; i < (kTileVectors<kBits> + kTileThreads - 1) / kTileThreads; ++i) {
    const int at = i * kTileThreads + ThreadInBlock();
    const int panel = static_cast<int>(blockIdx.x) * kTilePanels + at / (kBits * 32);
    const bool exists = panel < args.panels;
    const std::size_t from =
        (static_cast<std::size_t>(exists ? panel : 0) * static_cast<std::size_t>(args.units) +
         static_cast<std::size_t>(unit)) *
            (kBits * 32) +
        static_cast<std::size_t>(at % (kBits * 32));
    if (at < kTileVectors<kBits>) {
      CopyAsync16(stage + kTileChunks<kTokens> + at, args.codes + from, exists);
    }
  }
}

// A warp's codes of a unit: two blocks of 16 rows.
template <int kBits>
struct TileCodes {
  std::uint32_t words[static_cast<std::size_t>(2 * kBits)];
};

// From `panel`'s vectors in shared memory; `pair`: blocks 0 and 1, or 2 and 3.
template <int kBits>
__device__ __forceinline__ void ReadCodes(TileCodes<kBits>& codes, const uint4* panel, int pair) {
  const auto* words = reinterpret_cast<const uint2*>(panel + LaneInWarp());
  AWQ_UNROLL
  for (int i = 0; i < kBits; ++i) {  // two words at a time: with 3 bits, the pairs share a vector
    const int at = pair * kBits + i;
    const uint2 two = words[at / 2 * 64 + at % 2];
    codes.words[2 * i] = two.x;
    codes.words[2 * i + 1] = two.y;
  }
}

// Scales and zeros of a lane's 4 rows, [block][row / 8 % 2], of each group of a unit.
template <int kGroupsOfUnit>
struct TileScales {
  uint2 scales[static_cast<std::size_t>(kGroupsOfUnit)];
  std::uint32_t zeros[static_cast<std::size_t>(kGroupsOfUnit)];
};

template <int kGroupsOfUnit>
__device__ __forceinline__ void LoadScales(TileScales<kGroupsOfUnit>& rows,
                                           const LinearArguments& args, int panel, int pair,
                                           int unit) {
  AWQ_UNROLL
  for (int i = 0; i < kGroupsOfUnit; ++i) {
    const int group = min(args.GroupOf(2 * unit + i), args.groups - 1);
    const int at = ((min(panel, args.panels - 1) * args.groups + group) * 8 + LaneInWarp() / 4) * 2;
    rows.scales[i] = __ldg(reinterpret_cast<const uint2*>(args.scales) + at + pair);
    rows.zeros[i] = __ldg(reinterpret_cast<const std::uint32_t*>(args.zeros) + at + pair);
  }
}

__device__ __forceinline__ float TileScale(uint2 scales, int block, int half) {
  const std::uint32_t pair = block == 0 ? scales.x : scales.y;
  return ToFloat(Half{static_cast<std::uint16_t>(half == 0 ? pair & 0xffffu : pair >> 16)});
}

// A[block][product][register] of a warp, for one unit.
struct TileWeights {
  std::uint32_t a[2][4][4];
};

template <class T, int kBits, int kGroupsOfUnit>
__device__ __forceinline__ void DequantizeUnit(TileWeights& weights, const TileCodes<kBits>& codes,
                                               const TileScales<kGroupsOfUnit>& rows) {
  AWQ_UNROLL
  for (int block = 0; block < 2; ++block) {
    AWQ_UNROLL
    for (int j = 0; j < 4; ++j) {
      AWQ_UNROLL
      for (int r = 0; r < 4; ++r) {
        const std::uint32_t minus_zero = MinusZero<T, kBits>(
            rows.zeros[j * kGroupsOfUnit / 4], static_cast<unsigned>(2 * block + r % 2), r % 2);
        weights.a[block][j][r] = Dequantize<T, kBits>(codes, block, j, r, minus_zero);
      }
    }
  }
}

// A lane's sums: [block][tokens / 8][element of C].
template <int kTokens>
struct TileSums {
  static constexpr int kCount = 2 * (kTokens / 8) * 4;
  float of[2][static_cast<std::size_t>(kTokens / 8)][4];
};

// sums += a unit's weights times x.
template <class T, int kTokens, int kGroupsOfUnit>
__device__ __forceinline__ void MultiplyTile(TileSums<kTokens>& sums, const uint4* x,
                                             const TileWeights& weights,
                                             const TileScales<kGroupsOfUnit>& rows) {
  const int lane = LaneInWarp();
  AWQ_UNROLL
  for (int n = 0; n < kTokens / 8; ++n) {
    const int token = n * 8 + lane / 4;
    const uint4 first = x[ChunkPlace(token, lane % 4)], second = x[ChunkPlace(token, lane % 4 + 4)];
    const std::uint32_t b[4][2] = {
        {first.x, first.y}, {first.z, first.w}, {second.x, second.y}, {second.z, second.w}};
    AWQ_UNROLL
    for (int block = 0; block < 2; ++block) {
      AWQ_UNROLL
      for (int i = 0; i < kGroupsOfUnit; ++i) {
        float c[4] = {};
        AWQ_UNROLL
        for (int j = i * (4 / kGroupsOfUnit); j < (i + 1) * (4 / kGroupsOfUnit); ++j) {
          MultiplyAdd<T>(c, weights.a[block][j], b[j]);
        }
        AWQ_UNROLL
        for (int e = 0; e < 4; ++e) {
          sums.of[block][n][e] += TileScale(rows.scales[i], block, e / 2) * c[e];
        }
      }
    }
  }
}

template <class T, int kTokens>
__device__ __forceinline__ void WriteTile(const LinearArguments& args,
                                          const TileSums<kTokens>& sums) {
  const int lane = LaneInWarp();
  const int row = static_cast<int>(blockIdx.x) * kTileRows + WarpInBlock() * 32 + lane / 4;
  const int token = static_cast<int>(blockIdx.y) * kTokens + lane % 4 * 2;
  AWQ_UNROLL
  for (int block = 0; block < 2; ++block) {
    AWQ_UNROLL
    for (int n = 0; n < kTokens / 8; ++n) {
      AWQ_UNROLL
      for (int e = 0; e < 4; ++e) {
        WriteOutput<T>(args, token + n * 8 + e % 2, row + block * 16 + e / 2 * 8,
                       sums.of[block][n][e]);
      }
    }
  }
}

// Grid: tiles of rows, tiles of tokens, parts of the units.
template <class T, int kTokens, int kBits, int kGroupsOfUnit>
__global__ void __launch_bounds__(kTileThreads, kTileBlocksEach)
    TileKernel(LinearArguments args, Workspace work) {
  constexpr int kStage = kTileStageVectors<kTokens, kBits>;
  uint4* const shared = SharedArray<uint4>();
  const auto part = static_cast<int>(blockIdx.z), parts = static_cast<int>(gridDim.z);
  const int begin = args.units * part / parts, end = args.units * (part + 1) / parts;
  const int panel = WarpInBlock() / 2, pair = WarpInBlock() % 2;
  const int panel_of_all = static_cast<int>(blockIdx.x) * kTilePanels + panel;

  AWQ_UNROLL
  for (int i = 0; i < kTileStages - 1; ++i) {
    if (begin + i < end) {
      CopyStage<kTokens, kBits>(shared + i * kStage, args, begin + i);
    }
    CommitCopies();
  }
  TileScales<kGroupsOfUnit> rows, next_rows;
  LoadScales(rows, args, panel_of_all, pair, begin);
  TileSums<kTokens> sums = {};
  for (int unit = begin; unit < end; ++unit) {
    WaitCopies<kTileStages - 2>();
    __syncthreads();  // this stage is there for all, and all have read the one before
    const int ahead = unit + kTileStages - 1;
    if (ahead < end) {
      CopyStage<kTokens, kBits>(shared + (ahead - begin) % kTileStages * kStage, args, ahead);
    }
    CommitCopies();
    LoadScales(next_rows, args, panel_of_all, pair, min(unit + 1, end - 1));
    const uint4* stage = shared + (unit - begin) % kTileStages * kStage;
    TileCodes<kBits> codes;
    ReadCodes(codes, stage + kTileChunks<kTokens> + panel * (kBits * 32), pair);
    TileWeights weights;
    DequantizeUnit<T>(weights, codes, rows);
    MultiplyTile<T, kTokens>(sums, stage, weights, rows);
    rows = next_rows;
  }
  WaitCopies<0>();
  __syncthreads();
  if (parts == 1 || AddBlocks<TileSums<kTokens>::kCount, kTileThreads>(&sums.of[0][0][0], work,
                                                                       SharedArray<int>())) {
    WriteTile<T, kTokens>(args, sums);
  }
}

// Shares of a tile's units: so many that all blocks run at once, each with 8 units or more.
inline int TileParts(const LinearArguments& args, int tiles, int multiprocessors) {
  const int places = multiprocessors * kTileBlocksEach;
  return max(1, min(places / tiles, args.units / 8));
}

template <class T, int kTokens, int kBits, class Launcher>
Fault LaunchTileOf(const Launcher& launcher, const LinearArguments& args, const Workspace& work,
                   int multiprocessors) {
  LaunchShape shape;
  shape.blocks.x = static_cast<unsigned>((args.panels + kTilePanels - 1) / kTilePanels);
  shape.blocks.y = static_cast<unsigned>((args.tokens + kTokens - 1) / kTokens);
  shape.blocks.z = static_cast<unsigned>(
      TileParts(args, static_cast<int>(shape.blocks.x * shape.blocks.y), multiprocessors));
  shape.threads = kTileThreads;
  shape.shared_bytes =
      static_cast<std::size_t>(kTileStages * kTileStageVectors<kTokens, kBits>) * sizeof(uint4);
  return args.group_inputs % kUnitInputs == 0 || args.groups == 1
             ? launcher(TileKernel<T, kTokens, kBits, 1>, shape, args, work)
             : launcher(TileKernel<T, kTokens, kBits, 2>, shape, args, work);
}

template <class T, int kTokens, class Launcher>
Fault LaunchTile(const Launcher& launcher, const LinearCall& call, const Workspace& work,
                 int multiprocessors) {
  const LinearArguments args = ArgumentsOf(call);
  switch (call.weights.shape.bits) {
    case 3:
      return LaunchTileOf<T, kTokens, 3>(launcher, args, work, multiprocessors);
    case 4:
      return LaunchTileOf<T, kTokens, 4>(launcher, args, work, multiprocessors);
    default:
      return LaunchTileOf<T, kTokens, 8>(launcher, args, work, multiprocessors);
  }
}

}  // namespace AWQ_CUDA_SIDE
}  // namespace awq::cuda
