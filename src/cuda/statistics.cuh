// Kernels over the inputs of a site: magnitudes of columns, sketches, differences, rows in fp32;
// and a triangle mirrored.
#pragma once

#include "cuda/launch.h"
#include "cuda/ops_shapes.h"
#include "cuda/simt.h"
#include "cuda/statistics.h"
#include "cuda/token_vector.cuh"

namespace awq::cuda {
inline namespace AWQ_CUDA_SIDE {

inline constexpr int kInputThreads = 128;  // of what has a vector a thread
inline constexpr int kColumnWarps = 8;
inline constexpr int kColumnsOfBlock = kWarp * kVector;
static_assert(kColumnsOfBlock == kColumnWarps * kWarp);  // one a thread, to put warps together
inline constexpr int kMirrorTile = 32;
inline constexpr int kMirrorPitch = kMirrorTile + 1;  // a column meets every bank once
inline constexpr int kMirrorThreads = 256;

template <class T>
__device__ __forceinline__ const T* PlaceOf(const InputRows& x, std::int64_t token, int column) {
  return static_cast<const T*>(x.data) + token * x.width + column;
}

// Counts come in any order: whole numbers, and rare.
__device__ __forceinline__ void Count(unsigned found, NonfiniteCount to) {
  if (found > 0 && to != nullptr) atomicAdd(to, static_cast<unsigned long long>(found));
}

__device__ __forceinline__ unsigned NonfiniteIn(const Vector& x) {
  unsigned found = 0;
  AWQ_UNROLL
  for (int i = 0; i < kVector; ++i) {
    found += (__float_as_uint(x.values[i]) & 0x7fffffffU) >= 0x7f800000U ? 1U : 0U;
  }
  return found;
}

// Blocks: columns by parts of the tokens. A warp takes every eighth token of the part.
template <class T>
__global__ void __launch_bounds__(kColumnWarps* kWarp) ColumnPartsKernel(ColumnsTask task) {
  double* const warp_sums = SharedArray<double>();  // [kColumnWarps, kColumnsOfBlock]
  float* const warp_largest =
      SharedArray<float>(sizeof(double) * kColumnWarps * kColumnsOfBlock);  // likewise
  const int first_column = static_cast<int>(blockIdx.x) * kColumnsOfBlock;
  const int first = static_cast<int>(blockIdx.y) * kColumnPartTokens;
  const int count = min(kColumnPartTokens, task.x.tokens - first);
  const int column = first_column + LaneInWarp() * kVector;
  double sums[kVector] = {};
  float largest[kVector] = {};
  if (column < task.x.width) {
    unsigned nonfinite = 0;
    for (int token = WarpInBlock(); token < count; token += kColumnWarps) {
      const Vector x = Load(PlaceOf<T>(task.x, first + token, column));
      nonfinite += NonfiniteIn(x);
      AWQ_UNROLL
      for (int i = 0; i < kVector; ++i) {
        const float magnitude = fabsf(x.values[i]);
        sums[i] += static_cast<double>(magnitude);
        largest[i] = fmaxf(largest[i], magnitude);
      }
    }
    Count(nonfinite, task.nonfinite);
  }
  const int own = WarpInBlock() * kColumnsOfBlock + LaneInWarp() * kVector;
  AWQ_UNROLL
  for (int i = 0; i < kVector; ++i) {
    warp_sums[own + i] = sums[i];
    warp_largest[own + i] = largest[i];
  }
  __syncthreads();
  const int mine = ThreadInBlock();
  if (first_column + mine >= task.x.width) return;
  double sum = 0;
  float most = 0;
  AWQ_UNROLL
  for (int warp = 0; warp < kColumnWarps; ++warp) {
    sum += warp_sums[warp * kColumnsOfBlock + mine];
    most = fmaxf(most, warp_largest[warp * kColumnsOfBlock + mine]);
  }
  const std::int64_t to = std::int64_t{blockIdx.y} * task.x.width + first_column + mine;
  task.part_sums[to] = sum;
  task.part_largest[to] = most;
}

__global__ void __launch_bounds__(kInputThreads) AddPartsKernel(ColumnsTask task, int parts) {
  const int column = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (column >= task.x.width) return;
  double sum = task.sums[column];
  float largest = task.largest[column];
  for (int part = 0; part < parts; ++part) {
    const std::int64_t from = std::int64_t{part} * task.x.width + column;
    sum += task.part_sums[from];
    largest = fmaxf(largest, task.part_largest[from]);
  }
  task.sums[column] = sum;
  task.largest[column] = largest;
}

// Of what blockIdx.y has the columns of.
__device__ __forceinline__ int VectorOfThread() {
  return static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x) * kVector;
}

// Blocks: rows of the sketch by columns.
template <class T>
__global__ void __launch_bounds__(kInputThreads) SketchKernel(SketchTask task) {
  const int column = VectorOfThread();
  const std::uint32_t begin = task.starts[blockIdx.x];
  const std::uint32_t end = task.starts[blockIdx.x + 1];
  if (column >= task.x.width || begin == end) return;
  float* const to = task.sketch + std::int64_t{blockIdx.x} * task.x.width + column;
  Vector sums = Load(to);
  unsigned nonfinite = 0;
  for (std::uint32_t at = begin; at < end; ++at) {
    const std::uint32_t entry = task.tokens[at];
    const Vector x = Load(PlaceOf<T>(task.x, entry & ~kSketchMinus, column));
    nonfinite += NonfiniteIn(x);
    AWQ_UNROLL
    for (int i = 0; i < kVector; ++i) {
      sums.values[i] += __uint_as_float(__float_as_uint(x.values[i]) ^ (entry & kSketchMinus));
    }
  }
  Store(sums, to);
  Count(nonfinite, task.nonfinite);
}

// Blocks: rows by columns.
template <class T>
__global__ void __launch_bounds__(kInputThreads) SubtractKernel(DifferenceTask task) {
  const int column = VectorOfThread();
  if (column >= task.a.width) return;
  const std::int64_t at = std::int64_t{blockIdx.x} * task.a.width + column;
  Vector a = Load(PlaceOf<T>(task.a, blockIdx.x, column));
  const Vector b = Load(static_cast<const T*>(task.b) + at);
  AWQ_UNROLL
  for (int i = 0; i < kVector; ++i) a.values[i] -= b.values[i];
  Store(a, static_cast<T*>(task.out) + at);
}

// Likewise.
template <class T>
__global__ void __launch_bounds__(kInputThreads) WidenKernel(WidenTask task) {
  const int column = VectorOfThread();
  if (column >= task.x.width) return;
  const Vector x =
      Load(PlaceOf<T>(task.x, task.first + std::int64_t{blockIdx.x} * task.step, column));
  Store(x, task.to + std::int64_t{blockIdx.x} * task.x.width + column);
  Count(NonfiniteIn(x), task.nonfinite);
}

// Blocks: tiles, of which those below the diagonal are written by their mirrors' blocks.
__global__ void __launch_bounds__(kMirrorThreads) MirrorKernel(MirrorTask task) {
  if (blockIdx.x < blockIdx.y) return;
  float* const tile = SharedArray<float>();  // [kMirrorTile, kMirrorPitch]
  const int row = static_cast<int>(blockIdx.y) * kMirrorTile;
  const int column = static_cast<int>(blockIdx.x) * kMirrorTile;
  constexpr int kStep = kMirrorThreads / kMirrorTile;
  const int across = ThreadInBlock() % kMirrorTile;
  for (int down = ThreadInBlock() / kMirrorTile; down < kMirrorTile; down += kStep) {
    const int r = row + down, c = column + across;
    if (r > c || c >= task.n) continue;  // r <= c: it is a row, too
    float& element = task.matrix[std::int64_t{r} * task.n + c];
    element *= task.factor;
    tile[down * kMirrorPitch + across] = element;
  }
  __syncthreads();
  for (int down = ThreadInBlock() / kMirrorTile; down < kMirrorTile; down += kStep) {
    const int r = column + down, c = row + across;
    if (r <= c || r >= task.n) continue;
    task.matrix[std::int64_t{r} * task.n + c] = tile[across * kMirrorPitch + down];
  }
}

// A vector a thread.
inline LaunchShape VectorsOf(int rows, int width) {
  LaunchShape shape;
  shape.blocks = {static_cast<unsigned>(rows),
                  CeilDiv(static_cast<unsigned>(width), kInputThreads * kVector)};
  shape.threads = kInputThreads;
  return shape;
}

template <class Launcher>
Fault LaunchAddColumns(const Launcher& launcher, const ColumnsTask& task) {
  AWQ_CUDA_TRY(CheckWidth("magnitudes", task.x.width));
  if (task.x.tokens == 0) return {};
  const int parts = ColumnParts(task.x.tokens);
  LaunchShape shape;
  shape.blocks = {CeilDiv(static_cast<unsigned>(task.x.width), kColumnsOfBlock),
                  static_cast<unsigned>(parts)};
  shape.threads = kColumnWarps * kWarp;
  shape.shared_bytes = (sizeof(double) + sizeof(float)) * kColumnWarps * kColumnsOfBlock;
  AWQ_CUDA_TRY(ForHalves(task.x.type, [&](auto type) {
    return launcher(ColumnPartsKernel<decltype(type)>, shape, task);
  }));
  LaunchShape sums;
  sums.blocks.x = CeilDiv(static_cast<unsigned>(task.x.width), kInputThreads);
  sums.threads = kInputThreads;
  return launcher(AddPartsKernel, sums, task, parts);
}

template <class Launcher>
Fault LaunchAddSketch(const Launcher& launcher, const SketchTask& task) {
  AWQ_CUDA_TRY(CheckWidth("sketch", task.x.width));
  if (task.rows == 0) return {};
  const LaunchShape shape = VectorsOf(task.rows, task.x.width);
  return ForHalves(task.x.type,
                   [&](auto type) { return launcher(SketchKernel<decltype(type)>, shape, task); });
}

template <class Launcher>
Fault LaunchSubtract(const Launcher& launcher, const DifferenceTask& task) {
  AWQ_CUDA_TRY(CheckWidth("difference", task.a.width));
  if (task.a.tokens == 0) return {};
  const LaunchShape shape = VectorsOf(task.a.tokens, task.a.width);
  return ForHalves(task.a.type, [&](auto type) {
    return launcher(SubtractKernel<decltype(type)>, shape, task);
  });
}

template <class Launcher>
Fault LaunchWiden(const Launcher& launcher, const WidenTask& task) {
  AWQ_CUDA_TRY(CheckWidth("rows", task.x.width));
  if (task.count == 0) return {};
  const LaunchShape shape = VectorsOf(task.count, task.x.width);
  return ForHalves(task.x.type,
                   [&](auto type) { return launcher(WidenKernel<decltype(type)>, shape, task); });
}

template <class Launcher>
Fault LaunchMirror(const Launcher& launcher, const MirrorTask& task) {
  if (task.n == 0) return {};
  const unsigned across = CeilDiv(static_cast<unsigned>(task.n), kMirrorTile);
  LaunchShape shape;
  shape.blocks = {across, across};
  shape.threads = kMirrorThreads;
  shape.shared_bytes = sizeof(float) * kMirrorTile * kMirrorPitch;
  return launcher(MirrorKernel, shape, task);
}

}  // namespace AWQ_CUDA_SIDE
}  // namespace awq::cuda
