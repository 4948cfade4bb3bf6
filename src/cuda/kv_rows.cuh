// Rows of cached keys and values: where they are, and how they are written.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/launch.h"
#include "cuda/numbers.h"
#include "cuda/ops.h"
#include "cuda/ops_shapes.h"
#include "cuda/simt.h"
#include "cuda/token_vector.cuh"

namespace awq::cuda {
inline namespace AWQ_CUDA_SIDE {

// The keys or values of one key head in one page, of which `tokens` rows hold something.
struct KvPlace {
  int slot = 0;
  int layer = 0;
  int kv_head = 0;
  bool is_value = false;
};

// Of the page that `position` is in: its row 0.
__device__ __forceinline__ std::int64_t FirstRow(const KvPages& cache, const KvPlace& place,
                                                 int position) {
  const std::int64_t entry = std::int64_t{place.slot} * cache.table_pages + position / kPageTokens;
  const std::int64_t page = cache.tables[entry];
  const std::int64_t head = (page * cache.layers + place.layer) * cache.kv_heads + place.kv_head;
  return (2 * head + (place.is_value ? 1 : 0)) * kPageTokens;
}

// Keys [first, last).
struct KeyRange {
  int first = 0;
  int last = 0;
};

__device__ __forceinline__ KeyRange VisibleTo(int position, int window) {
  return {window != 0 && position + 1 > window ? position + 1 - window : 0, position + 1};
}

inline constexpr int kMostHeadDim = 256;
inline constexpr int kRowPairs = kMostHeadDim / 2 / kWarp;  // of a lane, at most

// A head in a warp's registers: lane l has pairs (i, i + head_dim / 2) of i = l, l + 32, ..., zeros
// beyond the last.
struct HeadRow {
  float low[kRowPairs];
  float high[kRowPairs];
};

// use(i, pair) for each pair that this lane has.
template <class Use>
__device__ __forceinline__ void ForPairs(int head_dim, Use use) {
  AWQ_UNROLL
  for (int i = 0; i < kRowPairs; ++i) {
    const int pair = i * kWarp + LaneInWarp();
    if (pair < head_dim / 2) use(i, pair);
  }
}

__device__ __forceinline__ HeadRow LoadHead(const float* from, const float* bias, int head_dim) {
  HeadRow row = {};
  const int half = head_dim / 2;
  ForPairs(head_dim, [&](int i, int pair) {
    row.low[i] = from[pair];
    row.high[i] = from[half + pair];
    if (bias == nullptr) return;
    row.low[i] += bias[pair];
    row.high[i] += bias[half + pair];
  });
  return row;
}

__device__ __forceinline__ void NormHead(const float* weight, float eps, int head_dim,
                                         HeadRow& row) {
  float squares = 0;
  AWQ_UNROLL
  for (int i = 0; i < kRowPairs; ++i) {
    squares += row.low[i] * row.low[i] + row.high[i] * row.high[i];
  }
  const float scale = 1.0F / sqrtf(SumOverWarp(squares) / static_cast<float>(head_dim) + eps);
  ForPairs(head_dim, [&](int i, int pair) {
    row.low[i] = row.low[i] * scale * weight[pair];
    row.high[i] = row.high[i] * scale * weight[head_dim / 2 + pair];
  });
}

// By the angles whose cosines and sines are given [head_dim / 2].
__device__ __forceinline__ void RotateHead(const float* cosines, const float* sines, int head_dim,
                                           HeadRow& row) {
  ForPairs(head_dim, [&](int i, int pair) {
    const float low = row.low[i];
    const float high = row.high[i];
    row.low[i] = low * cosines[pair] - high * sines[pair];
    row.high[i] = high * cosines[pair] + low * sines[pair];
  });
}

template <class T>
__device__ __forceinline__ T Held(float x) {
  return FromFloat<T>(x);
}
template <>
__device__ __forceinline__ Half Held<Half>(float x) {
  constexpr float kLargest = 65504;
  const float clamped = x > kLargest ? kLargest : (x < -kLargest ? -kLargest : x);
  return FromFloat<Half>(clamped);  // NaN stays
}

template <class T>
__device__ __forceinline__ void StoreHeld(const Vector& x, T* to) {
  Eight<T> eight;
  AWQ_UNROLL
  for (int i = 0; i < kVector; ++i) eight.elements[i] = Held<T>(x.values[i]);
  *reinterpret_cast<Eight<T>*>(to) = eight;
}

template <class T>
__device__ __forceinline__ void StoreHead(const HeadRow& row, int head_dim, T* to) {
  ForPairs(head_dim, [&](int i, int pair) {
    to[pair] = Held<T>(row.low[i]);
    to[head_dim / 2 + pair] = Held<T>(row.high[i]);
  });
}

// Returns the scale, in every lane: max |x| / 127, 0 where all is (or below 1e-35), NaN where
// something is not finite.
__device__ __forceinline__ float StoreCodes(const HeadRow& row, int head_dim, std::int8_t* to) {
  std::uint32_t bits = 0;  // magnitudes are in the order of their bits
  AWQ_UNROLL
  for (int i = 0; i < kRowPairs; ++i) {
    bits = max(bits, __float_as_uint(row.low[i]) & 0x7fffffffU);
    bits = max(bits, __float_as_uint(row.high[i]) & 0x7fffffffU);
  }
  AWQ_UNROLL
  for (int step = kWarp / 2; step > 0; step /= 2) {
    bits = max(bits, __shfl_xor_sync(kAllLanes, bits, step));
  }
  const float most = __uint_as_float(bits);
  const bool is_finite = bits < 0x7f800000U;
  const bool is_zero = !is_finite || most < 1e-35F;
  const float per_unit = is_zero ? 0.0F : 127.0F / most;
  const auto code = [&](float x) {
    return is_zero ? std::int8_t{0} : static_cast<std::int8_t>(rintf(x * per_unit));
  };
  ForPairs(head_dim, [&](int i, int pair) {
    to[pair] = code(row.low[i]);
    to[head_dim / 2 + pair] = code(row.high[i]);
  });
  if (!is_finite) return NotANumber();
  return is_zero ? 0.0F : most / 127.0F;
}

inline constexpr int kRopeWarps = 4;

// A warp takes a head of a token: first the queries, then the keys, then the values.
template <class T>
__global__ void RopeAndStoreKernel(RopeTask task) {
  const std::int64_t token = blockIdx.x;
  const KvPages& cache = task.cache;
  const int dim = cache.head_dim;
  const int all = task.heads + 2 * cache.kv_heads;
  const int head = static_cast<int>(blockIdx.y) * kRopeWarps + WarpInBlock();
  if (head >= all) return;
  const bool is_query = head < task.heads;
  const int kv_head = (head - task.heads) % cache.kv_heads;
  const bool is_value = head >= task.heads + cache.kv_heads;
  const float* const from = is_query ? task.queries : (is_value ? task.values : task.keys);
  const float* const bias =
      is_query ? task.query_bias : (is_value ? task.value_bias : task.key_bias);
  const std::int64_t column = std::int64_t{is_query ? head : kv_head} * dim;
  HeadRow row =
      LoadHead(from + token * task.stride + column, bias != nullptr ? bias + column : nullptr, dim);
  const int position = task.at.positions[token];
  if (!is_value) {
    const float* const norm = is_query ? task.query_norm : task.key_norm;
    if (norm != nullptr) NormHead(norm, task.eps, dim, row);
    const std::int64_t angles = std::int64_t{position} * (dim / 2);
    RotateHead(task.cosines + angles, task.sines + angles, dim, row);
  }
  if (is_query) return StoreHead(row, dim, task.queries + token * task.stride + column);
  const std::int64_t at =
      FirstRow(cache, {task.at.slots[token], task.layer, kv_head, is_value}, position) +
      position % kPageTokens;
  T* const to = static_cast<T*>(cache.rows) + at * dim;
  if constexpr (sizeof(T) == 1) {
    const float scale = StoreCodes(row, dim, to);
    if (LaneInWarp() == 0) cache.scales[at] = scale;
  } else {
    StoreHead(row, dim, to);
  }
}

template <class Launcher>
Fault LaunchRopeAndStore(const Launcher& launcher, const RopeTask& task) {
  const KvPages& cache = task.cache;
  AWQ_CUDA_TRY(CheckHeads(task.heads, cache));
  if (task.tokens == 0) return {};
  const auto heads = static_cast<unsigned>(task.heads + 2 * cache.kv_heads);
  LaunchShape shape;
  shape.blocks = {static_cast<unsigned>(task.tokens), CeilDiv(heads, kRopeWarps)};
  shape.threads = kRopeWarps * kWarp;
  return ForCached(cache.type, [&](auto type) {
    return launcher(RopeAndStoreKernel<decltype(type)>, shape, task);
  });
}

}  // namespace AWQ_CUDA_SIDE
}  // namespace awq::cuda
