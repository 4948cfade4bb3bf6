// A warp takes a group: its range, its map, codes and what is left. Arithmetic as in
// quant/group_isa.cc, so that maps and codes are the same bit for bit.
#pragma once

#include "cuda/launch.h"
#include "cuda/matrix_place.cuh"
#include "cuda/numbers.h"
#include "cuda/ops_shapes.h"
#include "cuda/rounding.h"
#include "cuda/simt.h"
#include "cuda/token_vector.cuh"

namespace awq::cuda {
inline namespace AWQ_CUDA_SIDE {

inline constexpr int kGroupWarps = 8;  // of a block
inline constexpr int kRangeRatios = 16;
inline constexpr int kClips = 10;

struct Range {
  float lo, hi;
  __device__ float largest() const { return -lo > hi ? -lo : hi; }
};
struct Map {
  float step, zero, bound;
};

__device__ __forceinline__ float Infinity() { return __uint_as_float(0x7f800000U); }

// To even while |x| < 2^22; beyond, the clamp decides.
__device__ __forceinline__ float RoundToInteger(float x) {
  constexpr float kRound = 0x1.8p23F;
  return (x + kRound) - kRound;
}

// Never 0; infinite where fp16 has no such number.
__device__ __forceinline__ float RoundStepToHalf(float x) {
  return fmaxf(ToFloat(FromFloat<Half>(x)), 0x1p-24F);
}

__device__ __forceinline__ Map MapOf(const CodeSpec& spec, Range range, float bound) {
  constexpr float kSmallestRange = 1e-5F;
  range = {fmaxf(range.lo, -bound), fminf(range.hi, bound)};
  if (spec.symmetric) {
    const float largest = fmaxf(range.largest(), kSmallestRange);
    return {RoundStepToHalf(largest / (spec.mid_code - 1)), spec.mid_code, bound};
  }
  const float width = fmaxf(range.hi - range.lo, kSmallestRange);
  const float step = RoundStepToHalf(width / spec.max_code);
  return {step, fminf(RoundToInteger(-range.lo / step), spec.max_code), bound};
}

__device__ __forceinline__ float CodeOf(const CodeSpec& spec, const Map& map, float w) {
  const float clipped = fminf(fmaxf(w, -map.bound), map.bound);
  const float code = RoundToInteger(clipped / map.step) + map.zero;
  return fminf(fmaxf(code, 0.0F), spec.max_code);
}

// What the code stands for.
__device__ __forceinline__ float ValueOf(const Map& map, float code) {
  return __fmul_rn(code - map.zero, map.step);
}

// Of w s.
struct ScaledGroup {
  const float* weights;
  const float* scale;  // null: 1
  int size;

  __device__ float at(int i) const {
    return scale == nullptr ? weights[i] : __fmul_rn(weights[i], scale[i]);
  }
  __device__ Range FullRange() const {
    float lo = 0, hi = 0;
    for (int i = LaneInWarp(); i < size; i += kWarp) {
      lo = fminf(lo, at(i));
      hi = fmaxf(hi, at(i));
    }
    return {-MaxOverWarp(-lo), MaxOverWarp(hi)};
  }
};

__device__ __forceinline__ float RangeLoss(const CodeSpec& spec, const ScaledGroup& group,
                                           const float* units, Range range) {
  const Map map = MapOf(spec, range, Infinity());
  float sum = 0;
  for (int i = LaneInWarp(); i < group.size; i += kWarp) {
    const float w = group.at(i);
    const float error = (w - ValueOf(map, CodeOf(spec, map, w))) * units[i];
    sum += error * error;
  }
  return SumOverWarp(sum);
}

// The first of equals, the widest.
__device__ __forceinline__ Range Sweep(const CodeSpec& spec, const ScaledGroup& group,
                                       const float* units, Range from, bool lo, bool hi) {
  Range best = from;
  float least = Infinity();
  for (int k = 0; k < kRangeRatios; ++k) {
    const float ratio = static_cast<float>(1 - static_cast<double>(k) * 0.04);
    const Range moved = {lo ? __fmul_rn(from.lo, ratio) : from.lo,
                         hi ? __fmul_rn(from.hi, ratio) : from.hi};
    const float loss = RangeLoss(spec, group, units, moved);
    if (!(loss < least)) continue;
    least = loss;
    best = moved;
  }
  return best;
}

// Which group this warp has: of row `row`, from column `first` on.
struct GroupPlace {
  std::int64_t row;
  int group, groups, first;
  bool is_there;

  __device__ GroupPlace(const DeviceMatrix& weights, int group_size)
      : row(blockIdx.x),
        group(static_cast<int>(blockIdx.y) * kGroupWarps + WarpInBlock()),
        groups(weights.columns / group_size),
        first(group * group_size),
        is_there(group < groups) {}
  __device__ std::int64_t index() const { return row * groups + group; }
};

__global__ void __launch_bounds__(kGroupWarps* kWarp) RoundGroupsKernel(GroupTask task) {
  const CodeSpec& spec = task.spec;
  const GroupPlace place(task.weights, spec.group_size);
  if (!place.is_there) return;
  const float* const weights = task.weights.data + place.row * task.weights.stride + place.first;
  const float* const scale = task.scale == nullptr ? nullptr : task.scale + place.first;
  const ScaledGroup group = {weights, scale, spec.group_size};
  Range range = group.FullRange();
  if (task.units != nullptr) {
    const float* const units = task.units + place.first;
    range = Sweep(spec, group, units, range, true, true);
    if (!spec.symmetric) {
      range = Sweep(spec, group, units, range, false, true);
      range = Sweep(spec, group, units, range, true, false);
    }
  }
  const float bound = task.bounds == nullptr ? Infinity() : task.bounds[place.index()];
  const Map map = MapOf(spec, range, bound);
  if (LaneInWarp() == 0 && task.to.steps != nullptr) task.to.steps[place.index()] = map.step;
  if (LaneInWarp() == 0 && task.to.zeros != nullptr) {
    task.to.zeros[place.index()] = static_cast<std::uint8_t>(map.zero);
  }
  if (task.to.codes == nullptr && task.residual.data == nullptr) return;
  for (int i = LaneInWarp(); i < spec.group_size; i += kWarp) {
    const float code = CodeOf(spec, map, group.at(i));
    if (task.to.codes != nullptr) {
      const std::int64_t at = place.row * task.weights.columns + place.first + i;
      task.to.codes[at] = static_cast<std::uint8_t>(code);
    }
    if (task.residual.data == nullptr) continue;
    const float value = ValueOf(map, code) / (scale == nullptr ? 1.0F : scale[i]);
    task.residual.data[place.row * task.residual.stride + place.first + i] = weights[i] - value;
  }
}

// e H_gg e^T for all candidates at once; e [size, kClips] in shared memory. A lane has 4 columns.
__device__ __forceinline__ void ClipLosses(const float* errors, const float* gram,
                                           std::int64_t stride, int size, float (&losses)[kClips]) {
  AWQ_UNROLL
  for (float& loss : losses) loss = 0;
  for (int column = LaneInWarp() * 4; column < size; column += kWarp * 4) {
    float products[kClips][4] = {};
    for (int j = 0; j < size; ++j) {
      const float4 h = *reinterpret_cast<const float4*>(gram + j * stride + column);
      AWQ_UNROLL
      for (int k = 0; k < kClips; ++k) {
        const float error = errors[j * kClips + k];
        products[k][0] += h.x * error;
        products[k][1] += h.y * error;
        products[k][2] += h.z * error;
        products[k][3] += h.w * error;
      }
    }
    AWQ_UNROLL
    for (int k = 0; k < kClips; ++k) {
      AWQ_UNROLL
      for (int c = 0; c < 4; ++c) losses[k] += products[k][c] * errors[(column + c) * kClips + k];
    }
  }
  AWQ_UNROLL
  for (float& loss : losses) loss = SumOverWarp(loss);
}

__global__ void __launch_bounds__(kGroupWarps* kWarp) ClipKernel(ClipTask task) {
  const CodeSpec& spec = task.spec;
  const int warps = static_cast<int>(blockDim.x) / kWarp;
  // Blocks side by side have the same group, whose part of H they share.
  const std::int64_t row = std::int64_t{blockIdx.x} * warps + WarpInBlock();
  if (row >= task.weights.rows) return;
  const int first = static_cast<int>(blockIdx.y) * spec.group_size;
  const float* const weights = task.weights.data + row * task.weights.stride + first;
  const ScaledGroup group = {weights, task.scale + first, spec.group_size};
  const Range range = group.FullRange();
  float* const errors = SharedArray<float>() + WarpInBlock() * spec.group_size * kClips;
  for (int k = 0; k < kClips; ++k) {
    const float fraction = static_cast<float>(1 - static_cast<double>(k) / 20);
    const Map map = MapOf(spec, range, __fmul_rn(range.largest(), fraction));
    for (int i = LaneInWarp(); i < spec.group_size; i += kWarp) {
      const float w = group.at(i);
      errors[i * kClips + k] = (w - ValueOf(map, CodeOf(spec, map, w))) / task.scale[first + i];
    }
  }
  __syncwarp();
  float losses[kClips];
  const std::int64_t n = task.weights.columns;
  ClipLosses(errors, task.gram + first * n + first, n, spec.group_size, losses);
  int best = 0;
  float least = losses[0];
  AWQ_UNROLL
  for (int k = 1; k < kClips; ++k) {
    if (!(losses[k] < least)) continue;
    least = losses[k];
    best = k;
  }
  if (LaneInWarp() != 0) return;
  const float fraction = static_cast<float>(1 - static_cast<double>(best) / 20);
  task.bounds[row * (n / spec.group_size) + blockIdx.y] = __fmul_rn(range.largest(), fraction);
}

inline Fault CheckGroups(const DeviceMatrix& weights, int group_size) {
  if (group_size > 0 && weights.columns % group_size == 0) return {};
  return Unsupported("groups of " + std::to_string(group_size) + " in rows of " +
                     std::to_string(weights.columns));
}

// A warp a group.
inline LaunchShape GroupsOf(const DeviceMatrix& weights, int group_size) {
  LaunchShape shape;
  shape.blocks.x = static_cast<unsigned>(weights.rows);
  shape.blocks.y = CeilDiv(static_cast<unsigned>(weights.columns / group_size), kGroupWarps);
  shape.threads = kGroupWarps * kWarp;
  return shape;
}

template <class Launcher>
Fault LaunchRoundGroups(const Launcher& launcher, const GroupTask& task) {
  AWQ_CUDA_TRY(CheckGroups(task.weights, task.spec.group_size));
  if (IsEmpty(task.weights)) return {};
  return launcher(RoundGroupsKernel, GroupsOf(task.weights, task.spec.group_size), task);
}

template <class Launcher>
Fault LaunchClip(const Launcher& launcher, const ClipTask& task) {
  static_assert(kClipBytes == kClips * sizeof(float));
  constexpr int kSharedBytes = 227 << 10;  // of any device; a launch says what this one has
  constexpr int kWantedBytes = 48 << 10;
  const int size = task.spec.group_size;
  AWQ_CUDA_TRY(CheckGroups(task.weights, size));
  const int bytes = size * kClips * static_cast<int>(sizeof(float));
  if (size % 4 != 0 || bytes > kSharedBytes) {
    return Unsupported("a clip search in groups of " + std::to_string(size));
  }
  if (IsEmpty(task.weights)) return {};
  const int warps = std::max(1, std::min(kGroupWarps, kWantedBytes / bytes));
  LaunchShape shape;
  shape.blocks.x = CeilDiv(static_cast<unsigned>(task.weights.rows), static_cast<unsigned>(warps));
  shape.blocks.y = static_cast<unsigned>(task.weights.columns / size);
  shape.threads = static_cast<unsigned>(warps) * kWarp;
  shape.shared_bytes = static_cast<std::size_t>(bytes) * static_cast<std::size_t>(warps);
  return launcher(ClipKernel, shape, task);
}

}  // namespace AWQ_CUDA_SIDE
}  // namespace awq::cuda
