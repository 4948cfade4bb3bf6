// Attention of several tokens (FlashAttention-2: Dao 2023). A block takes a tile: rows are the
// query heads that share a key head, token after token, 16 a warp. Keys and values go by in shared
// memory.
#pragma once

#include <type_traits>

#include "cuda/kv_rows.cuh"
#include "cuda/launch.h"
#include "cuda/numbers.h"
#include "cuda/ops.h"
#include "cuda/ops_shapes.h"
#include "cuda/ptx.h"
#include "cuda/simt.h"
#include "cuda/token_vector.cuh"

namespace awq::cuda {
inline namespace AWQ_CUDA_SIDE {

inline constexpr int kWarpRows = 16;
inline constexpr int kPrefillThreads = kTileRows / kWarpRows * kWarp;

// T: of cached rows. kDim: features, a multiple of 16; those beyond head_dim are zeros.
template <class T, int kDim>
class PrefillTile {
 public:
  static constexpr bool kHasScales = sizeof(T) == 1;
  using Key = std::conditional_t<kHasScales, Half, T>;        // which holds codes exactly
  using Value = std::conditional_t<kHasScales, Bfloat16, T>;  // scaled weights fit its range

  static constexpr int kKeys = kDim <= 128 ? 64 : 32;  // of a stage
  static constexpr int kStages = kHasScales ? 1 : 2;   // codes are not copied asynchronously
  // Rows 16 bytes apart, modulo 32: ldmatrix meets every bank once.
  static constexpr int kPitch = kDim + 8;
  static constexpr int kStageElements = 2 * kKeys * kPitch;

  static constexpr std::size_t SharedBytes() {
    return sizeof(Half) * (kTileRows * kPitch + kStages * kStageElements) +
           (kHasScales ? sizeof(float) * 2 * kKeys : 0);
  }

  __device__ PrefillTile(const PrefillTask& task, const Tile& tile, int kv_head)
      : task_(task),
        tile_(tile),
        kv_head_(kv_head),
        dim_(task.cache.head_dim),
        shared_(task.heads / task.cache.kv_heads),
        first_row_(WarpInBlock() * kWarpRows),
        queries_(SharedArray<Key>()),
        stages_(SharedArray<std::uint16_t>(sizeof(Key) * kTileRows * kPitch)),
        scales_(SharedArray<float>(sizeof(Key) * (kTileRows * kPitch + kStages * kStageElements))) {
  }

  __device__ __forceinline__ void Run() {
    const int last = tile_.position + tile_.tokens;
    const int first = VisibleTo(tile_.position, task_.window).first / kKeys * kKeys;
    LoadQueries();
    if constexpr (kStages == 2) {
      LoadStage(0, first, last);
      CommitCopies();
    }
    int stage = 0;
    for (int base = first; base < last; base += kKeys) {
      if constexpr (kStages == 2) {
        if (base + kKeys < last) LoadStage(1 - stage, base + kKeys, last);
        CommitCopies();
        WaitCopies<1>();
      } else {
        LoadStage(0, base, last);
      }
      __syncthreads();
      Array<float[4], kKeys / 8> scores = {};
      Score(stage, scores);
      Weigh(base, scores);
      Mix(stage, scores);
      __syncthreads();
      stage = kStages - 1 - stage;
    }
    WaitCopies<0>();
    Finish();
  }

 private:
  static __device__ __forceinline__ std::uint32_t Pack(float low, float high) {
    return FromFloat<Value>(low).bits | std::uint32_t{FromFloat<Value>(high).bits} << 16;
  }

  __device__ __forceinline__ void LoadQueries() {
    constexpr int kChunks = kDim / kVector;
    for (int i = ThreadInBlock(); i < kTileRows * kChunks; i += kPrefillThreads) {
      const int row = i / kChunks;
      const int column = i % kChunks * kVector;
      const std::int64_t token = tile_.row + row / shared_;
      const int head = kv_head_ * shared_ + row % shared_;
      const float* const from = task_.queries + token * task_.stride + head * dim_ + column;
      const bool is_there = row < tile_.tokens * shared_ && column < dim_;
      StoreHeld(is_there ? Load(from) : Vector{}, queries_ + row * kPitch + column);
    }
  }

  // Keys and values from `base` on, zeros from `last` on.
  __device__ __forceinline__ void LoadStage(int stage, int base, int last) {
    const std::int64_t row =
        FirstRow(task_.cache, {tile_.slot, task_.layer, kv_head_, false}, base) +
        base % kPageTokens;
    const int count = min(kKeys, last - base);
    std::uint16_t* const keys = stages_ + stage * kStageElements;
    LoadRows<Key>(row, count, keys);
    LoadRows<Value>(row + kPageTokens, count, keys + kKeys * kPitch);
    if constexpr (kHasScales) {
      for (int i = ThreadInBlock(); i < kKeys; i += kPrefillThreads) {
        scales_[i] = i < count ? task_.cache.scales[row + i] : 0.0F;
        scales_[kKeys + i] = i < count ? task_.cache.scales[row + kPageTokens + i] : 0.0F;
      }
    }
  }

  template <class As>
  __device__ __forceinline__ void LoadRows(std::int64_t first, int count, std::uint16_t* to) {
    constexpr int kChunks = kDim / kVector;
    const T* const rows = static_cast<const T*>(task_.cache.rows) + first * dim_;
    AWQ_UNROLL
    for (int i = ThreadInBlock(); i < kKeys * kChunks; i += kPrefillThreads) {
      const int row = i / kChunks;
      const int column = i % kChunks * kVector;
      const bool is_there = row < count && column < dim_;
      const T* const from = is_there ? rows + row * dim_ + column : rows;
      if constexpr (kHasScales) {
        const Vector x = is_there ? Load(from) : Vector{};
        Store(x, reinterpret_cast<As*>(to + row * kPitch + column));
      } else {
        CopyAsync16(to + row * kPitch + column, from, is_there);
      }
    }
  }

  __device__ __forceinline__ void Score(int stage, Array<float[4], kKeys / 8>& scores) {
    const int lane = LaneInWarp();
    const std::uint16_t* const keys =
        stages_ + stage * kStageElements + (lane / 16 * 8 + lane % 8) * kPitch + lane / 8 % 2 * 8;
    const Key* const queries = queries_ + (first_row_ + lane % 16) * kPitch + lane / 16 * 8;
    AWQ_UNROLL
    for (int step = 0; step < kDim / 16; ++step) {
      std::uint32_t query[4];
      LoadMatrices(query, queries + step * 16);
      AWQ_UNROLL
      for (int pair = 0; pair < kKeys / 16; ++pair) {
        std::uint32_t key[4];
        LoadMatrices(key, keys + pair * 16 * kPitch + step * 16);
        MultiplyAdd<Key>(scores[2 * pair], query, {key[0], key[1]});
        MultiplyAdd<Key>(scores[2 * pair + 1], query, {key[2], key[3]});
      }
    }
  }

  // Scores become weights relative to the largest so far, and what was summed before follows.
  __device__ __forceinline__ void Weigh(int base, Array<float[4], kKeys / 8>& scores) {
    constexpr float kLog2E = 1.44269504F;
    const float scale = kLog2E / sqrtf(static_cast<float>(dim_));
    const int last_position = tile_.position + tile_.tokens - 1;
    const bool all_visible =
        base + kKeys - 1 <= tile_.position && VisibleTo(last_position, task_.window).first <= base;
    AWQ_UNROLL
    for (int half = 0; half < 2; ++half) {
      const int row = first_row_ + LaneInWarp() / 4 + 8 * half;
      const KeyRange seen = VisibleTo(tile_.position + row / shared_, task_.window);
      float largest = largest_[half];
      AWQ_UNROLL
      for (int i = 0; i < kKeys / 4; ++i) {
        const int key = i / 2 * 8 + LaneInWarp() % 4 * 2 + i % 2;
        float& score = scores[i / 2][2 * half + i % 2];
        if constexpr (kHasScales) score *= scales_[key];
        score *= scale;
        const bool sees = all_visible || (base + key >= seen.first && base + key < seen.last);
        if (!sees) score = MinusInfinity();
        largest = fmaxf(largest, score);
      }
      largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, 1));
      largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, 2));
      const float from = largest == MinusInfinity() ? 0.0F : largest;
      const float factor = exp2f(largest_[half] - from);
      largest_[half] = largest;
      float sum = 0;
      AWQ_UNROLL
      for (int i = 0; i < kKeys / 4; ++i) {
        float& weight = scores[i / 2][2 * half + i % 2];
        weight = exp2f(weight - from);
        sum += weight;
        if constexpr (kHasScales) {
          weight *= scales_[kKeys + i / 2 * 8 + LaneInWarp() % 4 * 2 + i % 2];
        }
      }
      weights_[half] = weights_[half] * factor + sum;
      AWQ_UNROLL
      for (int i = 0; i < kDim / 8; ++i) {
        values_[i][2 * half] *= factor;
        values_[i][2 * half + 1] *= factor;
      }
    }
  }

  __device__ __forceinline__ void Mix(int stage, const Array<float[4], kKeys / 8>& weights) {
    const int lane = LaneInWarp();
    const std::uint16_t* const values =
        stages_ + stage * kStageElements + kKeys * kPitch + lane % 16 * kPitch + lane / 16 * 8;
    AWQ_UNROLL
    for (int step = 0; step < kKeys / 16; ++step) {
      const float(&low)[4] = weights[2 * step];
      const float(&high)[4] = weights[2 * step + 1];
      const std::uint32_t weight[4] = {Pack(low[0], low[1]), Pack(low[2], low[3]),
                                       Pack(high[0], high[1]), Pack(high[2], high[3])};
      AWQ_UNROLL
      for (int pair = 0; pair < kDim / 16; ++pair) {
        std::uint32_t value[4];
        LoadMatrices<4, true>(value, values + step * 16 * kPitch + pair * 16);
        MultiplyAdd<Value>(values_[2 * pair], weight, {value[0], value[1]});
        MultiplyAdd<Value>(values_[2 * pair + 1], weight, {value[2], value[3]});
      }
    }
  }

  __device__ __forceinline__ void Finish() {
    AWQ_UNROLL
    for (int half = 0; half < 2; ++half) {
      float sum = weights_[half];
      sum += __shfl_xor_sync(kAllLanes, sum, 1);
      sum += __shfl_xor_sync(kAllLanes, sum, 2);
      const int row = first_row_ + LaneInWarp() / 4 + 8 * half;
      if (row >= tile_.tokens * shared_) continue;
      const std::int64_t token = tile_.row + row / shared_;
      const std::int64_t to = (token * task_.heads + kv_head_ * shared_ + row % shared_) * dim_;
      AWQ_UNROLL
      for (int i = 0; i < kDim / 8; ++i) {
        const int column = i * 8 + LaneInWarp() % 4 * 2;
        if (column >= dim_) break;
        StorePair(values_[i][2 * half] / sum, values_[i][2 * half + 1] / sum, to + column);
      }
    }
  }

  __device__ __forceinline__ void StorePair(float low, float high, std::int64_t at) {
    std::uint32_t pair = 0;
    if (task_.out.type == Element::kF16) {
      pair = FromFloat<Half>(low).bits | std::uint32_t{FromFloat<Half>(high).bits} << 16;
    } else {
      pair = FromFloat<Bfloat16>(low).bits | std::uint32_t{FromFloat<Bfloat16>(high).bits} << 16;
    }
    static_cast<std::uint32_t*>(task_.out.data)[at / 2] = pair;
  }

  const PrefillTask& task_;
  const Tile tile_;
  int kv_head_;
  int dim_;
  int shared_;             // query heads of the key head
  int first_row_;          // of this warp
  Key* queries_;           // [kTileRows, kPitch]
  std::uint16_t* stages_;  // [kStages, keys then values, kKeys, kPitch]
  float* scales_;          // [keys then values, kKeys]
  // Of rows lane / 4 and 8 below it: features 8 i + 2 (lane % 4) and the next.
  Array<float[4], kDim / 8> values_ = {};
  float largest_[2] = {MinusInfinity(), MinusInfinity()};
  float weights_[2] = {0, 0};  // this lane's share of their sum
};

// Blocks: [key heads, tiles]
template <class T, int kDim>
__global__ void __launch_bounds__(kPrefillThreads) PrefillKernel(const PrefillTask task) {
  PrefillTile<T, kDim>(task, task.tiles[blockIdx.y], static_cast<int>(blockIdx.x)).Run();
}

template <class T, class Launcher>
Fault LaunchPrefillOf(const Launcher& launcher, LaunchShape shape, const PrefillTask& task) {
  const int dim = task.cache.head_dim;
  const auto launch = [&](auto padded) {
    constexpr int kDim = decltype(padded)::value;
    shape.shared_bytes = PrefillTile<T, kDim>::SharedBytes();
    return launcher(PrefillKernel<T, kDim>, shape, task);
  };
  if (dim <= 64) return launch(std::integral_constant<int, 64>());
  if (dim <= 80) return launch(std::integral_constant<int, 80>());
  if (dim <= 96) return launch(std::integral_constant<int, 96>());
  if (dim <= 128) return launch(std::integral_constant<int, 128>());
  return launch(std::integral_constant<int, 256>());
}

template <class Launcher>
Fault LaunchPrefill(const Launcher& launcher, const PrefillTask& task) {
  AWQ_CUDA_TRY(CheckHeads(task.heads, task.cache));
  if (task.heads / task.cache.kv_heads > kTileRows) {
    return Unsupported("more than 64 query heads for a key head");
  }
  if (task.tile_count > 65535) return Unsupported("more than 65535 tiles of attention");
  if (task.tile_count == 0) return {};
  LaunchShape shape;
  shape.blocks = {static_cast<unsigned>(task.cache.kv_heads),
                  static_cast<unsigned>(task.tile_count)};
  shape.threads = kPrefillThreads;
  return ForHalves(task.out.type, [&](auto) {
    return ForCached(task.cache.type, [&](auto type) {
      return LaunchPrefillOf<decltype(type)>(launcher, shape, task);
    });
  });
}

}  // namespace AWQ_CUDA_SIDE
}  // namespace awq::cuda
