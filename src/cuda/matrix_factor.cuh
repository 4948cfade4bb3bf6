// The triangular factor of a damped Gram matrix, and what is solved with it.
#pragma once

#include "cuda/matrix_product.cuh"
#include "cuda/matrix_rows.cuh"

namespace awq::cuda {
inline namespace AWQ_CUDA_SIDE {

inline constexpr int kFactorThreads = 512;
inline constexpr int kFactorParts = kFactorThreads / kFactorBlock;  // threads of a row or column
inline constexpr int kFactorPacked = kFactorBlock * (kFactorBlock + 1) / 2;

__global__ void CopyDampedKernel(FactorTask task) {
  const int j = ColumnOfThread();
  if (j >= task.n) return;
  const int i = static_cast<int>(blockIdx.x);
  const std::int64_t from = task.order[i];
  float value = 0;
  if (j <= i) value = task.gram[from * task.n + task.order[j]];
  if (j == i) value += task.added[from];
  task.lower[std::int64_t{i} * task.n + j] = value;
}

__device__ __forceinline__ int Packed(int i, int j) { return i * (i + 1) / 2 + j; }

// In place, in fp64; a pivot that is not positive counts as 1, and is told.
__device__ __forceinline__ void FactorBlock(double* block, int width, int* failed) {
  const int row = ThreadInBlock() % kFactorBlock;
  const int part = ThreadInBlock() / kFactorBlock;
  for (int j = 0; j < width; ++j) {
    const double pivot = block[Packed(j, j)];
    const bool is_right = pivot > 0;
    const double root = is_right ? sqrt(pivot) : 1.0;
    __syncthreads();
    if (!is_right && ThreadInBlock() == 0) *failed = 1;
    if (part == 0 && row >= j && row < width) {
      block[Packed(row, j)] = row == j ? root : block[Packed(row, j)] / root;
    }
    __syncthreads();
    for (int k = j + 1 + part; k <= row && row < width; k += kFactorParts) {
      block[Packed(row, k)] -= block[Packed(row, j)] * block[Packed(k, j)];
    }
    __syncthreads();
  }
}

// Column after column of the inverse, each by kFactorParts neighbouring lanes.
__device__ __forceinline__ void InvertBlock(const double* block, int width, float* inverse) {
  const int column = ThreadInBlock() / kFactorParts;
  const int part = ThreadInBlock() % kFactorParts;
  for (int i = 0; i < width; ++i) {
    double sum = 0;
    for (int k = column + part; k < i; k += kFactorParts) {
      sum += block[Packed(i, k)] * static_cast<double>(inverse[Packed(k, column)]);
    }
    AWQ_UNROLL
    for (int step = kFactorParts / 2; step > 0; step /= 2) {
      sum += __shfl_xor_sync(kAllLanes, sum, step);
    }
    if (part == 0 && column <= i) {
      const double unit = column == i ? 1.0 : 0.0;
      inverse[Packed(i, column)] = static_cast<float>((unit - sum) / block[Packed(i, i)]);
    }
    __syncwarp();
  }
}

// One block of threads, for the diagonal block at `first`.
__global__ void __launch_bounds__(kFactorThreads) FactorBlockKernel(FactorTask task, int first) {
  double* const block = SharedArray<double>();
  float* const inverse = SharedArray<float>(sizeof(double) * kFactorPacked);
  const int width = min(kFactorBlock, task.n - first);
  float* const lower = task.lower + std::int64_t{first} * task.n + first;
  for (int at = ThreadInBlock(); at < width * width; at += kFactorThreads) {
    const int i = at / width, j = at % width;
    if (j <= i) block[Packed(i, j)] = static_cast<double>(lower[std::int64_t{i} * task.n + j]);
  }
  __syncthreads();
  FactorBlock(block, width, task.failed);
  // What is stored is what is inverted.
  for (int at = ThreadInBlock(); at < width * width; at += kFactorThreads) {
    const int i = at / width, j = at % width;
    const float value = j <= i ? static_cast<float>(block[Packed(i, j)]) : 0.0F;
    lower[std::int64_t{i} * task.n + j] = value;
    if (j <= i) block[Packed(i, j)] = static_cast<double>(value);
  }
  __syncthreads();
  InvertBlock(block, width, inverse);
  __syncthreads();
  float* const to = task.inverses + std::int64_t{first} * kFactorBlock;
  for (int at = ThreadInBlock(); at < kFactorBlock * kFactorBlock; at += kFactorThreads) {
    const int i = at / kFactorBlock, j = at % kFactorBlock;
    to[at] = j <= i && i < width ? inverse[Packed(i, j)] : 0.0F;
  }
}

inline DeviceMatrix Square(const float* data, int n) { return {const_cast<float*>(data), n, n, n}; }
// The inverse of the diagonal block at `first`.
inline DeviceMatrix InverseAt(const float* inverses, int first, int width) {
  return {const_cast<float*>(inverses) + std::int64_t{first} * kFactorBlock, kFactorBlock, width,
          width};
}

template <class Launcher>
Fault LaunchFactor(const Launcher& launcher, const FactorTask& task) {
  const DeviceMatrix all = Square(task.lower, task.n);
  AWQ_CUDA_TRY(launcher(CopyDampedKernel, ElementsOf(all), task));
  LaunchShape shape;
  shape.threads = kFactorThreads;
  shape.shared_bytes = (sizeof(double) + sizeof(float)) * kFactorPacked;
  for (int first = 0; first < task.n; first += kFactorBlock) {
    AWQ_CUDA_TRY(launcher(FactorBlockKernel, shape, task, first));
    const int width = std::min(kFactorBlock, task.n - first);
    const int below = task.n - first - width;
    if (below == 0) break;
    const DeviceMatrix under = all.Rows(first + width, below);
    const DeviceMatrix panel = {task.panel, kFactorBlock, below, width};
    ProductTask solve;
    solve.a = under.Columns(first, width);
    solve.b = InverseAt(task.inverses, first, width);
    solve.b_transposed = true;
    solve.to = panel;
    AWQ_CUDA_TRY(LaunchProduct(launcher, solve));
    AWQ_CUDA_TRY(LaunchCombine(launcher, 1, panel, 0, {}, under.Columns(first, width)));
    ProductTask update;
    update.a = panel;
    update.b = panel;
    update.b_transposed = true;
    update.to = under.Columns(first + width, below);
    update.accumulate = true;
    update.factor = -1;
    update.lower_only = true;
    AWQ_CUDA_TRY(LaunchProduct(launcher, update));
  }
  return {};
}

// The columns at `first` times the inverse of the diagonal block (transposed or not), and less of
// them in the columns that are still to be solved.
template <class Launcher>
Fault LaunchSolveStep(const Launcher& launcher, const SolveTask& task, int first, bool forward) {
  const int width = std::min(kFactorBlock, task.n - first);
  const DeviceMatrix own = task.rows.Columns(first, width);
  const DeviceMatrix panel = {task.panel, kFactorBlock, task.rows.rows, width};
  ProductTask solve;
  solve.a = own;
  solve.b = InverseAt(task.inverses, first, width);
  solve.b_transposed = forward;
  solve.to = panel;
  AWQ_CUDA_TRY(LaunchProduct(launcher, solve));
  AWQ_CUDA_TRY(LaunchCombine(launcher, 1, panel, 0, {}, own));
  const DeviceMatrix lower = Square(task.lower, task.n);
  ProductTask update;
  update.a = panel;
  if (forward) {
    const int after = first + width;
    update.b = lower.Rows(after, task.n - after).Columns(first, width);
    update.b_transposed = true;
    update.to = task.rows.Columns(after, task.n - after);
  } else {
    update.b = lower.Rows(first, width).Columns(0, first);
    update.to = task.rows.Columns(0, first);
  }
  update.accumulate = true;
  update.factor = -1;
  return LaunchProduct(launcher, update);
}

// X L L^T = B: Y L^T = B from the first columns on, X L = Y from the last.
template <class Launcher>
Fault LaunchSolveRows(const Launcher& launcher, const SolveTask& task) {
  for (int first = 0; first < task.n; first += kFactorBlock) {
    AWQ_CUDA_TRY(LaunchSolveStep(launcher, task, first, true));
  }
  for (int block = FactorBlocks(task.n); block-- > 0;) {
    AWQ_CUDA_TRY(LaunchSolveStep(launcher, task, block * kFactorBlock, false));
  }
  return {};
}

}  // namespace AWQ_CUDA_SIDE
}  // namespace awq::cuda
