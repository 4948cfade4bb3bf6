// Rounding with error feedback: a warp takes a row, a lane 4 of a block's channels. What a block
// leaves to the channels before it is a product.
#pragma once

#include "cuda/group_rounding.cuh"
#include "cuda/matrix_product.cuh"

namespace awq::cuda {
inline namespace AWQ_CUDA_SIDE {

inline constexpr int kFeedbackWarps = 16;  // of a block of threads, which shares a block of L
inline constexpr int kFeedbackPlaces = kFeedbackBlock / kWarp;  // of a lane

// What a lane knows of one channel of its row.
struct FeedbackChannel {
  float weight, feedback, pivot, scale, added, error;
  Map map;
  std::int64_t code_at;
};

class FeedbackRow {
 public:
  __device__ FeedbackRow(const FeedbackTask& task, const float* lower, std::int64_t row, int begin,
                         int width)
      : task_(task), lower_(lower), row_(row), begin_(begin), width_(width) {
    const int n = task.weights.columns;
    const int groups = n / task.spec.group_size;
    AWQ_UNROLL
    for (int p = 0; p < kFeedbackPlaces; ++p) {
      const int k = p * kWarp + LaneInWarp();
      FeedbackChannel& own = channels_[p];
      own.error = 0;
      if (k >= width) continue;
      const int channel = static_cast<int>(task.order[begin + k]);
      const std::int64_t map = row * groups + channel / task.spec.group_size;
      own.weight = task.weights.data[row * task.weights.stride + channel];
      own.feedback = task.feedback[row * n + begin + k];
      own.pivot = lower[k * kFeedbackBlock + k];
      own.scale = task.scale[channel];
      own.added = task.added[channel];
      own.map = {task.rounded.steps[map], static_cast<float>(task.rounded.zeros[map]), Infinity()};
      own.code_at = row * n + channel;
    }
  }

  __device__ __forceinline__ void Go() {
    float loss = 0;
    AWQ_UNROLL
    for (int p = kFeedbackPlaces - 1; p >= 0; --p) {
      for (int lane = kWarp - 1; lane >= 0; --lane) {
        const int k = p * kWarp + lane;
        if (k >= width_) continue;
        if (LaneInWarp() == lane) loss += Round(channels_[p]);
        const float error = __shfl_sync(kAllLanes, channels_[p].error, lane);
        const float* const lower = lower_ + k * kFeedbackBlock;
        AWQ_UNROLL
        for (int q = 0; q <= p; ++q) {
          const int i = q * kWarp + LaneInWarp();
          if (i < k) channels_[q].feedback += error * lower[i];
        }
      }
    }
    AWQ_UNROLL
    for (int p = 0; p < kFeedbackPlaces; ++p) {
      task_.errors[row_ * kFeedbackBlock + p * kWarp + LaneInWarp()] = channels_[p].error;
    }
    loss = SumOverWarp(loss);
    if (LaneInWarp() == 0) task_.losses[row_] += static_cast<double>(loss);
  }

 private:
  // Its part of d H d^T.
  __device__ __forceinline__ float Round(FeedbackChannel& own) {
    const float target = own.weight + own.feedback / own.pivot;
    const float code = CodeOf(task_.spec, own.map, __fmul_rn(target, own.scale));
    const float rounded = ValueOf(own.map, code) / own.scale;
    own.error = own.weight - rounded;
    if (task_.rounded.codes != nullptr) {
      task_.rounded.codes[own.code_at] = static_cast<std::uint8_t>(code);
    }
    // The damped loss is the sum of these squares: e L = L_kk (target - rounded) in column k.
    const float part = (target - rounded) * own.pivot;
    return part * part - own.added * own.error * own.error;
  }

  const FeedbackTask& task_;
  const float* lower_;  // [kFeedbackBlock, kFeedbackBlock], the diagonal block
  std::int64_t row_;
  int begin_, width_;
  FeedbackChannel channels_[kFeedbackPlaces];
};

__global__ void __launch_bounds__(kFeedbackWarps* kWarp)
    FeedbackKernel(FeedbackTask task, int begin, int width) {
  float* const lower = SharedArray<float>();
  const std::int64_t n = task.weights.columns;
  for (int at = ThreadInBlock(); at < width * kFeedbackBlock; at += kFeedbackWarps * kWarp) {
    const int i = at / kFeedbackBlock, j = at % kFeedbackBlock;
    lower[at] = j < width ? task.lower[(begin + i) * n + begin + j] : 0.0F;
  }
  __syncthreads();
  const std::int64_t row = std::int64_t{blockIdx.x} * kFeedbackWarps + WarpInBlock();
  if (row < task.weights.rows) FeedbackRow(task, lower, row, begin, width).Go();
}

template <class Launcher>
Fault LaunchFeedback(const Launcher& launcher, const FeedbackTask& task) {
  AWQ_CUDA_TRY(CheckGroups(task.weights, task.spec.group_size));
  const int n = task.weights.columns;
  const int rows = task.weights.rows;
  if (rows == 0) return {};
  LaunchShape shape;
  shape.blocks.x = CeilDiv(static_cast<unsigned>(rows), kFeedbackWarps);
  shape.threads = kFeedbackWarps * kWarp;
  shape.shared_bytes = sizeof(float) * kFeedbackBlock * kFeedbackBlock;
  for (int end = n; end > 0;) {
    const int begin = (end - 1) / kFeedbackBlock * kFeedbackBlock;
    const int width = end - begin;
    AWQ_CUDA_TRY(launcher(FeedbackKernel, shape, task, begin, width));
    ProductTask carry;  // feedback_k += sum over the block's channels j of e_j L_jk
    carry.a = {task.errors, kFeedbackBlock, rows, width};
    carry.b = {const_cast<float*>(task.lower) + std::int64_t{begin} * n, n, width, begin};
    carry.to = {task.feedback, n, rows, begin};
    carry.accumulate = true;
    AWQ_CUDA_TRY(LaunchProduct(launcher, carry));
    end = begin;
  }
  return {};
}

}  // namespace AWQ_CUDA_SIDE
}  // namespace awq::cuda
