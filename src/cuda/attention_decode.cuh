// Attention of single tokens. A block takes the keys and values of one key head in one page, for
// the query heads that share it (Flash-Decoding: Dao et al. 2023); a second kernel puts the pages
// together, in their order. All arithmetic is fp32.
#pragma once

#include <type_traits>

#include "cuda/kv_rows.cuh"
#include "cuda/launch.h"
#include "cuda/numbers.h"
#include "cuda/ops.h"
#include "cuda/ops_shapes.h"
#include "cuda/simt.h"
#include "cuda/token_vector.cuh"

namespace awq::cuda {
inline namespace AWQ_CUDA_SIDE {

inline constexpr int kDecodeWarps = 4;
inline constexpr int kDecodeThreads = kDecodeWarps * kWarp;

// What a part is, beside its sum of weighted values: of exp((score - largest) / sqrt(head_dim)).
struct PartSums {
  float largest;  // of the scores; -infinity where the part has no keys
  float weights;
};

// Memory of the parts: [token, head, part, head_dim] values, then [token, head, part] sums.
struct Parts {
  float* values;
  PartSums* sums;

  __device__ Parts(const DecodeTask& task, int most_parts)
      : values(task.parts),
        sums(reinterpret_cast<PartSums*>(task.parts + std::int64_t{task.tokens} * task.heads *
                                                          most_parts * task.cache.head_dim)) {}
};

// From kCount sums in every one of kLanes lanes to one in each: lane l of them gets number
// l / (kLanes / kCount), over all of them.
template <int kCount, int kLanes>
__device__ __forceinline__ float SumAndSpread(Array<float, kCount>& sums) {
  const int lane = LaneInWarp();
  int count = kCount;
  AWQ_UNROLL
  for (int step = kLanes / 2; step > 0; step /= 2) {
    if (count == 1) {
      sums[0] += __shfl_xor_sync(kAllLanes, sums[0], step);
      continue;
    }
    count /= 2;
    const bool upper = (lane & step) != 0;
    AWQ_UNROLL
    for (int i = 0; i < kCount / 2; ++i) {
      if (i >= count) break;
      const float sent = upper ? sums[i] : sums[i + count];
      const float kept = upper ? sums[i + count] : sums[i];
      sums[i] = kept + __shfl_xor_sync(kAllLanes, sent, step);
    }
  }
  return sums[0];
}

// kHeads query heads against one key head. kLanes lanes hold a row, 8 features each.
template <class T, int kHeads, int kLanes>
class DecodePage {
 public:
  static constexpr int kRowsAtOnce = kWarp / kLanes;  // of a warp
  static constexpr int kStep = kDecodeWarps * kRowsAtOnce;
  static constexpr int kUnrolled = kHeads >= 4 ? 2 : 4;  // loads on their way, of a thread
  static constexpr int kDim = kLanes * kVector;

  // Shared memory: weights [kPageTokens, kHeads], sums of each warp's values [warps, kHeads, kDim].
  static constexpr std::size_t SharedBytes() {
    return sizeof(float) * kHeads * (kPageTokens + kDecodeWarps * kDim);
  }

  __device__ DecodePage(const DecodeTask& task, int kv_head, int first_head, int heads)
      : task_(task),
        dim_(task.cache.head_dim),
        kv_head_(kv_head),
        first_head_(first_head),
        heads_(heads),
        group_(WarpInBlock() * kRowsAtOnce + LaneInWarp() / kLanes),
        column_(LaneInWarp() % kLanes * kVector),
        weights_(SharedArray<float>()),
        warp_values_(weights_ + kHeads * kPageTokens) {}

  // keys: of one page.
  __device__ __forceinline__ void Run(std::int64_t row, KeyRange keys, int part, int most_parts) {
    const int slot = task_.at.slots[row];
    const std::int64_t key_row =
        FirstRow(task_.cache, {slot, task_.layer, kv_head_, false}, keys.first);
    const KeyRange in_page{keys.first % kPageTokens, (keys.last - 1) % kPageTokens + 1};
    Score(row, key_row, in_page);
    __syncthreads();
    const Parts parts(task_, most_parts);
    const std::int64_t at =
        (std::int64_t{blockIdx.z} * task_.heads + first_head_) * most_parts + part;
    Weigh(key_row + kPageTokens, in_page, parts.sums + at, most_parts);
    __syncthreads();
    Mix(key_row + kPageTokens, in_page);
    __syncthreads();
    for (int i = ThreadInBlock(); i < heads_ * dim_; i += kDecodeThreads) {
      const int head = i / dim_;
      float sum = 0;
      AWQ_UNROLL
      for (int warp = 0; warp < kDecodeWarps; ++warp) {
        sum += warp_values_[(warp * kHeads + head) * kDim + i % dim_];
      }
      parts.values[(at + std::int64_t{head} * most_parts) * dim_ + i % dim_] = sum;
    }
  }

 private:
  __device__ __forceinline__ Vector LoadRow(std::int64_t row) const {
    if (column_ >= dim_) return {};
    return Load(static_cast<const T*>(task_.cache.rows) + row * dim_ + column_);
  }

  // weights_ = q k, of int8 times the key's scale.
  __device__ __forceinline__ void Score(std::int64_t row, std::int64_t key_row, KeyRange keys) {
    Array<Vector, kHeads> queries;
    AWQ_UNROLL
    for (int h = 0; h < kHeads; ++h) {
      const float* const from = task_.queries + row * task_.stride + (first_head_ + h) * dim_;
      queries[h] = h < heads_ && column_ < dim_ ? Load(from + column_) : Vector{};
    }
    // All lanes stay until the last has done: they sum together.
    for (int base = keys.first; base < keys.last; base += kStep * kUnrolled) {
      Array<Vector, kUnrolled> rows;
      AWQ_UNROLL
      for (int u = 0; u < kUnrolled; ++u) {
        const int key = base + u * kStep + group_;
        rows[u] = key < keys.last ? LoadRow(key_row + key) : Vector{};
      }
      AWQ_UNROLL
      for (int u = 0; u < kUnrolled; ++u) {
        const int key = base + u * kStep + group_;
        Array<float, kHeads> sums;
        AWQ_UNROLL
        for (int h = 0; h < kHeads; ++h) sums[h] = Dot(queries[h], rows[u]);
        float score = SumAndSpread<kHeads, kLanes>(sums);
        constexpr int kOfHead = kLanes / kHeads;
        if (key >= keys.last || LaneInWarp() % kOfHead != 0) continue;
        if constexpr (sizeof(T) == 1) score *= task_.cache.scales[key_row + key];
        weights_[key * kHeads + LaneInWarp() % kLanes / kOfHead] = score;
      }
    }
  }

  // A warp takes a head: scores become weights, of int8 times the value's scale.
  __device__ __forceinline__ void Weigh(std::int64_t value_row, KeyRange keys, PartSums* sums,
                                        int most_parts) {
    const float scale = 1.0F / sqrtf(static_cast<float>(dim_));
    for (int head = WarpInBlock(); head < heads_; head += kDecodeWarps) {
      float largest = MinusInfinity();
      for (int key = keys.first + LaneInWarp(); key < keys.last; key += kWarp) {
        largest = fmaxf(largest, weights_[key * kHeads + head]);
      }
      largest = MaxOverWarp(largest);
      float sum = 0;
      for (int key = keys.first + LaneInWarp(); key < keys.last; key += kWarp) {
        float& weight = weights_[key * kHeads + head];
        weight = expf(scale * (weight - largest));
        sum += weight;
        if constexpr (sizeof(T) == 1) weight *= task_.cache.scales[value_row + key];
      }
      sum = SumOverWarp(sum);
      if (LaneInWarp() == 0) sums[std::int64_t{head} * most_parts] = {largest, sum};
    }
  }

  // warp_values_ = weights times values, of this warp's keys.
  __device__ __forceinline__ void Mix(std::int64_t value_row, KeyRange keys) {
    Array<Vector, kHeads> sums = {};
    for (int base = keys.first + group_; base < keys.last; base += kStep * kUnrolled) {
      Array<Vector, kUnrolled> rows;
      AWQ_UNROLL
      for (int u = 0; u < kUnrolled; ++u) {
        const int key = base + u * kStep;
        rows[u] = key < keys.last ? LoadRow(value_row + key) : Vector{};
      }
      AWQ_UNROLL
      for (int u = 0; u < kUnrolled; ++u) {
        const int key = base + u * kStep;
        if (key >= keys.last) break;
        AWQ_UNROLL
        for (int h = 0; h < kHeads; ++h) AddScaled(rows[u], weights_[key * kHeads + h], sums[h]);
      }
    }
    AWQ_UNROLL
    for (int h = 0; h < kHeads; ++h) {
      AWQ_UNROLL
      for (int step = kLanes; step < kWarp; step *= 2) {
        AWQ_UNROLL
        for (float& each : sums[h].values) each += __shfl_xor_sync(kAllLanes, each, step);
      }
      float* const to = warp_values_ + (WarpInBlock() * kHeads + h) * kDim + column_;
      if (LaneInWarp() < kLanes) Store(sums[h], to);
    }
  }

  const DecodeTask& task_;
  int dim_;
  int kv_head_;
  int first_head_;
  int heads_;
  int group_;   // of lanes that hold one row
  int column_;  // of this lane's features
  float* weights_;
  float* warp_values_;
};

// Blocks: [pages, groups of heads, tokens].
template <class T, int kHeads, int kLanes>
__global__ void __launch_bounds__(kDecodeThreads)
    DecodePageKernel(const DecodeTask task, int most_parts) {
  const std::int64_t row = RowOf(task.rows, blockIdx.z);
  const KeyRange seen = VisibleTo(task.at.positions[row], task.window);
  const int part = static_cast<int>(blockIdx.x);
  const int page = seen.first / kPageTokens + part;
  const KeyRange keys{max(seen.first, page * kPageTokens),
                      min(seen.last, (page + 1) * kPageTokens)};
  if (keys.first >= keys.last) return;
  const int shared = task.heads / task.cache.kv_heads;
  const int groups = (shared + kHeads - 1) / kHeads;  // of the heads that share a key head
  const int kv_head = static_cast<int>(blockIdx.y) / groups;
  const int first = static_cast<int>(blockIdx.y) % groups * kHeads;
  DecodePage<T, kHeads, kLanes>(task, kv_head, kv_head * shared + first,
                                min(kHeads, shared - first))
      .Run(row, keys, part, most_parts);
}

inline constexpr int kJoinThreads = 256;

// Blocks: [heads, tokens]. Of its threads head_dim / 4 have 4 features each of every n-th part.
template <class T>
__global__ void __launch_bounds__(kJoinThreads)
    JoinPagesKernel(const DecodeTask task, int most_parts) {
  const std::int64_t token = blockIdx.y;
  const std::int64_t row = RowOf(task.rows, token);
  const KeyRange seen = VisibleTo(task.at.positions[row], task.window);
  const int count = (seen.last - 1) / kPageTokens - seen.first / kPageTokens + 1;
  const int dim = task.cache.head_dim;
  const Parts parts(task, most_parts);
  const std::int64_t first = (token * task.heads + blockIdx.x) * most_parts;
  const PartSums* const sums = parts.sums + first;

  float largest = MinusInfinity();
  for (int i = 0; i < count; ++i) largest = fmaxf(largest, sums[i].largest);
  const float scale = 1.0F / sqrtf(static_cast<float>(dim));

  const int streams = kJoinThreads / (dim / 4);
  const int stream = ThreadInBlock() / (dim / 4);
  const int column = ThreadInBlock() % (dim / 4) * 4;
  float weights = 0;
  float4 values{};
  for (int i = stream; i < count && stream < streams; i += streams) {
    const float factor = expf(scale * (sums[i].largest - largest));
    const float* const from = parts.values + (first + i) * dim + column;
    const float4 each = *reinterpret_cast<const float4*>(from);
    weights += factor * sums[i].weights;
    values.x += factor * each.x;
    values.y += factor * each.y;
    values.z += factor * each.z;
    values.w += factor * each.w;
  }
  float4* const of_streams = SharedArray<float4>();
  float* const of_weights = SharedArray<float>(kJoinThreads * sizeof(float4));
  of_streams[ThreadInBlock()] = values;
  of_weights[ThreadInBlock()] = weights;
  __syncthreads();
  T* const out = static_cast<T*>(task.out.data) + (row * task.heads + blockIdx.x) * dim;
  for (int i = ThreadInBlock(); i < dim; i += kJoinThreads) {
    float value = 0;
    float weight = 0;
    for (int s = 0; s < streams; ++s) {
      value += SharedArray<float>()[s * dim + i];
      weight += of_weights[s * (dim / 4)];
    }
    out[i] = FromFloat<T>(value / weight);
  }
}

template <class T, int kHeads, class Launcher>
Fault LaunchDecodePages(const Launcher& launcher, LaunchShape shape, const DecodeTask& task) {
  const int shared = task.heads / task.cache.kv_heads;
  shape.blocks.y = static_cast<unsigned>((shared + kHeads - 1) / kHeads * task.cache.kv_heads);
  shape.threads = kDecodeThreads;
  const auto launch = [&](auto lanes) {
    constexpr int kLanes = decltype(lanes)::value;
    shape.shared_bytes = DecodePage<T, kHeads, kLanes>::SharedBytes();
    return launcher(DecodePageKernel<T, kHeads, kLanes>, shape, task, MostParts(task));
  };
  if (task.cache.head_dim <= 64) return launch(std::integral_constant<int, 8>());
  if (task.cache.head_dim <= 128) return launch(std::integral_constant<int, 16>());
  return launch(std::integral_constant<int, 32>());
}

template <class Launcher>
Fault LaunchDecode(const Launcher& launcher, const DecodeTask& task) {
  AWQ_CUDA_TRY(CheckHeads(task.heads, task.cache));
  if (task.tokens > 65535) return Unsupported("more than 65535 single tokens");
  if (task.tokens == 0) return {};
  const auto tokens = static_cast<unsigned>(task.tokens);
  LaunchShape pages;
  pages.blocks = {static_cast<unsigned>(MostParts(task)), 1, tokens};
  const int shared = task.heads / task.cache.kv_heads;
  AWQ_CUDA_TRY(ForCached(task.cache.type, [&](auto type) {
    using T = decltype(type);
    if (shared == 1) return LaunchDecodePages<T, 1>(launcher, pages, task);
    if (shared == 2) return LaunchDecodePages<T, 2>(launcher, pages, task);
    if (shared <= 4) return LaunchDecodePages<T, 4>(launcher, pages, task);
    return LaunchDecodePages<T, 8>(launcher, pages, task);
  }));
  LaunchShape join;
  join.blocks = {static_cast<unsigned>(task.heads), tokens};
  join.threads = kJoinThreads;
  join.shared_bytes = kJoinThreads * (sizeof(float4) + sizeof(float));
  return ForHalves(task.out.type, [&](auto type) {
    return launcher(JoinPagesKernel<decltype(type)>, join, task, MostParts(task));
  });
}

}  // namespace AWQ_CUDA_SIDE
}  // namespace awq::cuda
