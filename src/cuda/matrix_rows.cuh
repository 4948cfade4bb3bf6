// Columns of matrices in another order, sums of two, sums of products.
#pragma once

#include "cuda/launch.h"
#include "cuda/matrix.h"
#include "cuda/matrix_place.cuh"
#include "cuda/ops_shapes.h"
#include "cuda/simt.h"
#include "cuda/token_vector.cuh"

namespace awq::cuda {
inline namespace AWQ_CUDA_SIDE {

__global__ void PermuteColumnsKernel(DeviceMatrix from, const std::uint32_t* order, bool back,
                                     DeviceMatrix to) {
  const int i = ColumnOfThread();
  if (i >= from.columns) return;
  const std::int64_t row = blockIdx.x;
  const std::int64_t other = order[i];
  to.data[row * to.stride + (back ? other : i)] = from.data[row * from.stride + (back ? i : other)];
}

__global__ void CombineKernel(float a, DeviceMatrix x, float b, DeviceMatrix y, DeviceMatrix to) {
  const int i = ColumnOfThread();
  if (i >= x.columns) return;
  const std::int64_t row = blockIdx.x;
  float value = a * x.data[row * x.stride + i];
  if (y.data != nullptr) value += b * y.data[row * y.stride + i];
  to.data[row * to.stride + i] = value;
}

// A block a row.
__global__ void RowProductsKernel(DeviceMatrix x, DeviceMatrix y, double* parts) {
  const std::int64_t row = blockIdx.x;
  float sum = 0;
  for (int i = ThreadInBlock(); i < x.columns; i += static_cast<int>(blockDim.x)) {
    sum += x.data[row * x.stride + i] * y.data[row * y.stride + i];
  }
  sum = SumOverBlock(sum, SharedArray<float>());
  if (ThreadInBlock() == 0) parts[row] = static_cast<double>(sum);
}

// One block.
__global__ void SumKernel(const double* values, int count, double* sum) {
  double* const parts = SharedArray<double>();
  double own = 0;
  for (int i = ThreadInBlock(); i < count; i += static_cast<int>(blockDim.x)) own += values[i];
  parts[ThreadInBlock()] = own;
  for (int half = static_cast<int>(blockDim.x) / 2; half > 0; half /= 2) {
    __syncthreads();
    if (ThreadInBlock() < half) parts[ThreadInBlock()] += parts[ThreadInBlock() + half];
  }
  if (ThreadInBlock() == 0) *sum = parts[0];
}

template <class Launcher>
Fault LaunchPermuteColumns(const Launcher& launcher, const DeviceMatrix& from,
                           const std::uint32_t* order, bool back, const DeviceMatrix& to) {
  if (IsEmpty(from)) return {};
  return launcher(PermuteColumnsKernel, ElementsOf(from), from, order, back, to);
}

template <class Launcher>
Fault LaunchCombine(const Launcher& launcher, float a, const DeviceMatrix& x, float b,
                    const DeviceMatrix& y, const DeviceMatrix& to) {
  if (IsEmpty(x)) return {};
  return launcher(CombineKernel, ElementsOf(x), a, x, b, y, to);
}

template <class Launcher>
Fault LaunchSum(const Launcher& launcher, const double* values, int count, double* sum) {
  LaunchShape shape;
  shape.threads = kRowsThreads;
  shape.shared_bytes = sizeof(double) * kRowsThreads;
  return launcher(SumKernel, shape, values, count, sum);
}

template <class Launcher>
Fault LaunchSumProducts(const Launcher& launcher, const DeviceMatrix& x, const DeviceMatrix& y,
                        double* parts, double* sum) {
  if (x.rows > 0) {
    LaunchShape shape;
    shape.blocks.x = static_cast<unsigned>(x.rows);
    shape.threads = kRowsThreads;
    shape.shared_bytes = sizeof(float) * kWarp;
    AWQ_CUDA_TRY(launcher(RowProductsKernel, shape, x, y, parts));
  }
  return LaunchSum(launcher, parts, x.rows, sum);
}

}  // namespace AWQ_CUDA_SIDE
}  // namespace awq::cuda
