// What rounding leaves of rows of weights, how weights lie in their groups, and which of two
// roundings of a row is kept.
#pragma once

#include "cuda/group_rounding.cuh"

namespace awq::cuda {
inline namespace AWQ_CUDA_SIDE {

inline constexpr int kProfileRows = 64;  // of a part

__global__ void RoundingErrorsKernel(ErrorTask task) {
  const int i = ColumnOfThread();
  const int n = task.weights.columns;
  if (i >= n) return;
  const std::int64_t row = blockIdx.x;
  const std::int64_t map = row * (n / task.group_size) + i / task.group_size;
  const float code = static_cast<float>(task.rounded.codes[row * n + i]);
  const Map as = {task.rounded.steps[map], static_cast<float>(task.rounded.zeros[map]), 0};
  task.to.data[row * task.to.stride + i] =
      task.weights.data[row * task.weights.stride + i] - ValueOf(as, code) / task.scale[i];
}

// A warp has one group of kProfileRows rows.
__global__ void __launch_bounds__(kGroupWarps* kWarp) ProfileKernel(ProfileTask task) {
  const GroupPlace place(task.weights, task.group_size);
  if (!place.is_there) return;
  float* const sums = task.parts + place.row * task.weights.columns + place.first;
  for (int i = LaneInWarp(); i < task.group_size; i += kWarp) sums[i] = 0;
  const int first_row = static_cast<int>(blockIdx.x) * kProfileRows;
  const int end = min(first_row + kProfileRows, task.weights.rows);
  for (int row = first_row; row < end; ++row) {
    const float* const w = task.weights.data + row * task.weights.stride + place.first;
    float largest = 0;
    for (int i = LaneInWarp(); i < task.group_size; i += kWarp)
      largest = fmaxf(largest, fabsf(w[i]));
    largest = MaxOverWarp(largest);
    if (largest == 0) continue;
    for (int i = LaneInWarp(); i < task.group_size; i += kWarp) sums[i] += fabsf(w[i]) / largest;
  }
}

__global__ void ProfileSumsKernel(ProfileTask task, int parts) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const int n = task.weights.columns;
  if (i >= n) return;
  double sum = task.sums[i];
  for (int part = 0; part < parts; ++part) {
    sum += static_cast<double>(task.parts[std::int64_t{part} * n + i]);
  }
  task.sums[i] = sum;
}

// A block a row.
__global__ void KeepBetterKernel(KeepTask task) {
  const std::int64_t row = blockIdx.x;
  const double other = task.other_losses[row];
  const bool is_better = other < task.losses[row];
  __syncthreads();
  if (!is_better) return;
  if (ThreadInBlock() == 0) task.losses[row] = other;
  const int step = static_cast<int>(blockDim.x);
  for (int i = ThreadInBlock(); i < task.columns; i += step) {
    task.kept.codes[row * task.columns + i] = task.other.codes[row * task.columns + i];
  }
  for (int g = ThreadInBlock(); g < task.groups; g += step) {
    task.kept.steps[row * task.groups + g] = task.other.steps[row * task.groups + g];
    task.kept.zeros[row * task.groups + g] = task.other.zeros[row * task.groups + g];
  }
}

template <class Launcher>
Fault LaunchRoundingErrors(const Launcher& launcher, const ErrorTask& task) {
  AWQ_CUDA_TRY(CheckGroups(task.weights, task.group_size));
  if (IsEmpty(task.weights)) return {};
  return launcher(RoundingErrorsKernel, ElementsOf(task.weights), task);
}

template <class Launcher>
Fault LaunchProfile(const Launcher& launcher, const ProfileTask& task) {
  AWQ_CUDA_TRY(CheckGroups(task.weights, task.group_size));
  if (IsEmpty(task.weights)) return {};
  const int parts = ProfileParts(task.weights.rows);
  LaunchShape shape = GroupsOf(task.weights, task.group_size);
  shape.blocks.x = static_cast<unsigned>(parts);
  AWQ_CUDA_TRY(launcher(ProfileKernel, shape, task));
  LaunchShape sums;
  sums.blocks.x = CeilDiv(static_cast<unsigned>(task.weights.columns), kRowsThreads);
  sums.threads = kRowsThreads;
  return launcher(ProfileSumsKernel, sums, task, parts);
}

template <class Launcher>
Fault LaunchKeepBetterRows(const Launcher& launcher, const KeepTask& task) {
  if (task.rows == 0) return {};
  LaunchShape shape;
  shape.blocks.x = static_cast<unsigned>(task.rows);
  shape.threads = kRowsThreads;
  return launcher(KeepBetterKernel, shape, task);
}

}  // namespace AWQ_CUDA_SIDE
}  // namespace awq::cuda
