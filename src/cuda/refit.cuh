// Group scales refitted to codes: for each row the system v_g M v_h^T, v_g M w, then each scale in
// turn the fp16 number that is best.
#pragma once

#include "cuda/group_rounding.cuh"
#include "cuda/matrix_product.cuh"

namespace awq::cuda {
inline namespace AWQ_CUDA_SIDE {

inline constexpr int kRefitSweeps = 16;
inline constexpr int kRefitWarps = 8;

// Codes less their zero point, divided by the scale.
__global__ void SharesKernel(RefitTask task) {
  const int i = ColumnOfThread();
  const int n = task.weights.columns;
  if (i >= n) return;
  const std::int64_t at = std::int64_t{blockIdx.x} * n + i;
  const std::int64_t map = std::int64_t{blockIdx.x} * (n / task.group_size) + i / task.group_size;
  const int steps = task.rounded.codes[at] - task.rounded.zeros[map];
  task.shares[at] = static_cast<float>(steps) / task.scale[i];
}

// Line `g` of each row's system, of products v_g H. A block a row, a warp one group after another.
__global__ void __launch_bounds__(kRefitWarps* kWarp) SystemKernel(RefitTask task, int g) {
  const int n = task.weights.columns;
  const int groups = n / task.group_size;
  const std::int64_t row = blockIdx.x;
  const float* const products = task.products + row * n;
  const float* const shares = task.shares + row * n;
  const float* const weights = task.weights.data + row * task.weights.stride;
  float* const rights = SharedArray<float>();  // of the warps
  float right = 0;
  for (int h = WarpInBlock(); h < groups; h += kRefitWarps) {
    float sum = 0;
    for (int i = h * task.group_size + LaneInWarp(); i < (h + 1) * task.group_size; i += kWarp) {
      const float product = products[i] + (h == g ? task.added[i] * shares[i] : 0.0F);
      sum += product * shares[i];
      right += product * weights[i];
    }
    sum = SumOverWarp(sum);
    if (LaneInWarp() == 0) task.systems[(row * groups + g) * groups + h] = sum;
  }
  right = SumOverBlock(right, rights);
  if (ThreadInBlock() == 0) task.right[row * groups + g] = right;
}

__device__ __forceinline__ float DotOverWarp(const float* a, const float* b, int n) {
  float sum = 0;
  for (int i = LaneInWarp(); i < n; i += kWarp) sum += a[i] * b[i];
  return SumOverWarp(sum);
}

// A warp a row; its scales in shared memory.
__global__ void __launch_bounds__(kRefitWarps* kWarp) DescendKernel(RefitTask task) {
  const int groups = task.weights.columns / task.group_size;
  const std::int64_t row = std::int64_t{blockIdx.x} * kRefitWarps + WarpInBlock();
  if (row >= task.weights.rows) return;
  float* const scales = SharedArray<float>() + WarpInBlock() * groups;
  float* const stored = task.rounded.steps + row * groups;
  const float* const system = task.systems + row * groups * groups;
  const float* const right = task.right + row * groups;
  for (int g = LaneInWarp(); g < groups; g += kWarp) scales[g] = stored[g];
  __syncwarp();
  bool changed = true;
  for (int sweep = 0; sweep < kRefitSweeps && changed; ++sweep) {
    changed = false;
    for (int g = 0; g < groups; ++g) {
      const float own = system[g * groups + g];
      if (!(own > 0)) continue;
      const float rest = right[g] - DotOverWarp(system + g * groups, scales, groups);
      const float wanted = fminf(fmaxf(scales[g] + rest / own, 0x1p-24F), 65504.0F);
      const float best = ToFloat(FromFloat<Half>(wanted));
      changed |= best != scales[g];
      __syncwarp();
      if (LaneInWarp() == 0) scales[g] = best;
      __syncwarp();
    }
  }
  double loss = 0;
  for (int g = 0; g < groups; ++g) {
    const float product = DotOverWarp(system + g * groups, scales, groups);
    loss += static_cast<double>(scales[g]) *
            (static_cast<double>(product) - 2 * static_cast<double>(right[g]));
  }
  if (LaneInWarp() == 0) task.losses[row] = loss;
  for (int g = LaneInWarp(); g < groups; g += kWarp) stored[g] = scales[g];
}

template <class Launcher>
Fault LaunchRefit(const Launcher& launcher, const RefitTask& task) {
  AWQ_CUDA_TRY(CheckGroups(task.weights, task.group_size));
  if (IsEmpty(task.weights)) return {};
  constexpr int kMostGroups = 1024;  // what shared memory holds of kRefitWarps rows without asking
  const int n = task.weights.columns;
  const int rows = task.weights.rows;
  const int groups = n / task.group_size;
  if (groups > kMostGroups) return Unsupported("refitting " + std::to_string(groups) + " scales");
  const DeviceMatrix shares = {task.shares, n, rows, n};
  AWQ_CUDA_TRY(launcher(SharesKernel, ElementsOf(shares), task));
  LaunchShape systems;
  systems.blocks.x = static_cast<unsigned>(rows);
  systems.threads = kRefitWarps * kWarp;
  systems.shared_bytes = sizeof(float) * kWarp;
  for (int g = 0; g < groups; ++g) {
    const int first = g * task.group_size;
    ProductTask product;
    product.a = shares.Columns(first, task.group_size);
    product.b = {const_cast<float*>(task.gram) + std::int64_t{first} * n, n, task.group_size, n};
    product.to = {task.products, n, rows, n};
    AWQ_CUDA_TRY(LaunchProduct(launcher, product));
    AWQ_CUDA_TRY(launcher(SystemKernel, systems, task, g));
  }
  LaunchShape descend;
  descend.blocks.x = CeilDiv(static_cast<unsigned>(rows), kRefitWarps);
  descend.threads = kRefitWarps * kWarp;
  descend.shared_bytes = sizeof(float) * static_cast<std::size_t>(kRefitWarps * groups);
  return launcher(DescendKernel, descend, task);
}

}  // namespace AWQ_CUDA_SIDE
}  // namespace awq::cuda
