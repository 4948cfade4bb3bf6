// Gram matrices of calibration: x^T x in tensor cores, or left^T x. A block takes a tile of
// 128 x 128 features, of x^T x on or above the diagonal; tokens go by in shared memory.
#pragma once

#include "cuda/launch.h"
#include "cuda/numbers.h"
#include "cuda/ops.h"
#include "cuda/ops_shapes.h"
#include "cuda/ptx.h"
#include "cuda/simt.h"
#include "cuda/token_vector.cuh"

namespace awq::cuda {
inline namespace AWQ_CUDA_SIDE {

inline constexpr int kGramTile = 128;
inline constexpr int kGramThreads = 256;
inline constexpr int kGramTokens = 32;  // of a stage
inline constexpr int kGramStages = 3;
inline constexpr int kGramPitch = kGramTile + 8;  // ldmatrix meets every bank once
inline constexpr int kGramStage = 2 * kGramTokens * kGramPitch;
// Of a warp: 64 x 32 features, two of them below one another, four side by side.
inline constexpr int kGramRows = 64;
inline constexpr int kGramColumns = 32;

template <class T>
class GramTile {
 public:
  __device__ GramTile(const GramTask& task, int row, int column)
      : task_(task),
        row_(row),
        column_(column),
        warp_row_(WarpInBlock() / 4 * kGramRows),
        warp_column_(WarpInBlock() % 4 * kGramColumns),
        stages_(SharedArray<T>()) {}

  __device__ __forceinline__ void Run() {
    const int steps = (task_.tokens + kGramTokens - 1) / kGramTokens;
    for (int step = 0; step < kGramStages - 1; ++step) Load(step, steps);
    for (int step = 0; step < steps; ++step) {
      WaitCopies<kGramStages - 2>();
      __syncthreads();
      Load(step + kGramStages - 1, steps);
      Multiply(stages_ + step % kGramStages * kGramStage);
    }
    WaitCopies<0>();
    Add();
  }

 private:
  // A group of copies; of a step that is none, without any.
  __device__ __forceinline__ void Load(int step, int steps) {
    if (step < steps) {
      T* const stage = stages_ + step % kGramStages * kGramStage;
      LoadSide(task_.left != nullptr ? task_.left : task_.x, row_, step, stage);
      LoadSide(task_.x, column_, step, stage + kGramTokens * kGramPitch);
    }
    CommitCopies();
  }

  __device__ __forceinline__ void LoadSide(const void* side, int first, int step, T* stage) {
    constexpr int kChunks = kGramTile / kVector;
    const T* const from = static_cast<const T*>(side);
    AWQ_UNROLL
    for (int chunk = 0; chunk < kGramTokens * kChunks; chunk += kGramThreads) {
      const int of_stage = (chunk + ThreadInBlock()) / kChunks;
      const int in_tile = (chunk + ThreadInBlock()) % kChunks * kVector;
      const int token = step * kGramTokens + of_stage;
      const int feature = first + in_tile;
      const bool is_there = token < task_.tokens && feature < task_.width;
      CopyAsync16(stage + of_stage * kGramPitch + in_tile,
                  is_there ? from + std::int64_t{token} * task_.width + feature : from, is_there);
    }
  }

  __device__ __forceinline__ void Multiply(const T* stage) {
    const int lane = LaneInWarp();
    const T* const rows =
        stage + (lane / 16 * 8 + lane % 8) * kGramPitch + warp_row_ + lane / 8 % 2 * 8;
    const T* const columns =
        stage + (kGramTokens + lane % 16) * kGramPitch + warp_column_ + lane / 16 * 8;
    AWQ_UNROLL
    for (int k = 0; k < kGramTokens; k += 16) {
      std::uint32_t a[kGramRows / 16][4];
      AWQ_UNROLL
      for (int i = 0; i < kGramRows / 16; ++i) {
        LoadMatrices<4, true>(a[i], rows + k * kGramPitch + i * 16);
      }
      AWQ_UNROLL
      for (int pair = 0; pair < kGramColumns / 16; ++pair) {
        std::uint32_t b[4];
        LoadMatrices<4, true>(b, columns + k * kGramPitch + pair * 16);
        AWQ_UNROLL
        for (int i = 0; i < kGramRows / 16; ++i) {
          MultiplyAdd<T>(sums_[i][2 * pair], a[i], {b[0], b[1]});
          MultiplyAdd<T>(sums_[i][2 * pair + 1], a[i], {b[2], b[3]});
        }
      }
    }
  }

  __device__ __forceinline__ void Add() {
    AWQ_UNROLL
    for (int i = 0; i < kGramRows / 16; ++i) {
      AWQ_UNROLL
      for (int half = 0; half < 2; ++half) {
        const int row = row_ + warp_row_ + i * 16 + LaneInWarp() / 4 + 8 * half;
        AWQ_UNROLL
        for (int j = 0; j < kGramColumns / 8; ++j) {
          const int column = column_ + warp_column_ + j * 8 + LaneInWarp() % 4 * 2;
          if (row >= task_.width || column >= task_.width) continue;
          float* const to = task_.gram + std::int64_t{row} * task_.width + column;
          float2& pair = *reinterpret_cast<float2*>(to);
          pair = make_float2(pair.x + sums_[i][j][2 * half], pair.y + sums_[i][j][2 * half + 1]);
        }
      }
    }
  }

  const GramTask& task_;
  int row_;  // the tile's first features
  int column_;
  int warp_row_;
  int warp_column_;
  T* stages_;  // [kGramStages, rows' side then columns', kGramTokens, kGramPitch]
  float sums_[kGramRows / 16][kGramColumns / 8][4] = {};
};

// Blocks: the tiles, row after row, of x^T x from the diagonal on.
template <class T>
__global__ void __launch_bounds__(kGramThreads) GramKernel(const GramTask task) {
  const int across = (task.width + kGramTile - 1) / kGramTile;
  const int block = static_cast<int>(blockIdx.x);
  int row = 0;
  int column = block;
  if (task.left != nullptr) {
    row = block / across;
    column = block % across;
  } else {
    for (; column >= across; ++row) column -= across - row - 1;
  }
  GramTile<T>(task, row * kGramTile, column * kGramTile).Run();
}

template <class Launcher>
Fault LaunchGram(const Launcher& launcher, const GramTask& task) {
  AWQ_CUDA_TRY(CheckWidth("Gram matrix", task.width));
  if (task.tokens == 0) return {};
  const unsigned across = CeilDiv(static_cast<unsigned>(task.width), kGramTile);
  LaunchShape shape;
  shape.blocks.x = task.left != nullptr ? across * across : across * (across + 1) / 2;
  shape.threads = kGramThreads;
  shape.shared_bytes = sizeof(Half) * kGramStages * kGramStage;
  return ForHalves(task.type,
                   [&](auto type) { return launcher(GramKernel<decltype(type)>, shape, task); });
}

}  // namespace AWQ_CUDA_SIDE
}  // namespace awq::cuda
