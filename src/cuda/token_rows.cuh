// Kernels over rows of hidden states: embedding, norms, gates.
#pragma once

#include "cuda/launch.h"
#include "cuda/numbers.h"
#include "cuda/ops.h"
#include "cuda/ops_shapes.h"
#include "cuda/simt.h"
#include "cuda/token_vector.cuh"

namespace awq::cuda {
inline namespace AWQ_CUDA_SIDE {

inline constexpr int kMostThreads = 1024;
inline constexpr int kGateThreads = 256;

template <class T>
__global__ void __launch_bounds__(kMostThreads) EmbedKernel(EmbedTask task) {
  const std::int64_t token = blockIdx.x;
  const int id = task.ids[token];
  const bool known = id >= 0 && id < task.vocab;
  const T* row = static_cast<const T*>(task.table) + std::int64_t{known ? id : 0} * task.width;
  const int step = static_cast<int>(blockDim.x) * kVector;
  for (int at = ThreadInBlock() * kVector; at < task.width; at += step) {
    Vector x = Load(row + at);
    for (float& each : x.values) each = known ? each : NotANumber();
    Store(x, task.hidden + token * task.width + at);
  }
}

inline constexpr int kNormVectors = 4;  // of a thread, at most

// A row stays in its block's registers.
template <class T>
__global__ void __launch_bounds__(kMostThreads) AddNormKernel(NormTask task) {
  const std::int64_t token = blockIdx.x;
  const std::int64_t row = RowOf(task.rows, token);
  float* const hidden = task.hidden + row * task.width;
  Vector x[kNormVectors];
  float squares = 0;
  AWQ_UNROLL
  for (int i = 0; i < kNormVectors; ++i) {
    const int at = (i * static_cast<int>(blockDim.x) + ThreadInBlock()) * kVector;
    if (at >= task.width) break;
    x[i] = Load(hidden + at);
    if (task.added != nullptr) {
      x[i] += LoadWithBias(task.added + row * task.width + at, task.bias, at);
      Store(x[i], hidden + at);
    }
    squares += Dot(x[i], x[i]);
  }
  if (task.out.data == nullptr) return;
  const float mean = SumOverBlock(squares, SharedArray<float>()) / static_cast<float>(task.width);
  const float scale = 1.0F / sqrtf(mean + task.eps);
  T* const out = static_cast<T*>(task.out.data) + token * task.width;
  AWQ_UNROLL
  for (int i = 0; i < kNormVectors; ++i) {
    const int at = (i * static_cast<int>(blockDim.x) + ThreadInBlock()) * kVector;
    if (at >= task.width) break;
    const Vector weight = Load(task.weight + at);
    for (int j = 0; j < kVector; ++j) x[i].values[j] = x[i].values[j] * scale * weight.values[j];
    Store(x[i], out + at);
  }
}

template <class T>
__global__ void __launch_bounds__(kGateThreads) GateKernel(GateTask task) {
  const std::int64_t token = blockIdx.x;
  const int at = static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x) * kVector;
  if (at >= task.width) return;
  const Vector gate = LoadWithBias(task.gate + token * task.stride + at, task.gate_bias, at);
  Vector out = LoadWithBias(task.up + token * task.stride + at, task.up_bias, at);
  for (int j = 0; j < kVector; ++j) {
    out.values[j] *= gate.values[j] / (1.0F + expf(-gate.values[j]));
  }
  Store(out, static_cast<T*>(task.out.data) + token * task.width + at);
}

// As many as have a vector each, if a block can.
inline unsigned ThreadsFor(int width) {
  const auto warps = CeilDiv(static_cast<unsigned>(width), kVector * kWarp);
  return std::min(warps * kWarp, unsigned{kMostThreads});
}

template <class Launcher>
Fault LaunchEmbed(const Launcher& launcher, const EmbedTask& task) {
  AWQ_CUDA_TRY(CheckWidth("embedding", task.width));
  if (task.tokens == 0) return {};
  LaunchShape shape;
  shape.blocks.x = static_cast<unsigned>(task.tokens);
  shape.threads = ThreadsFor(task.width);
  if (task.type == Element::kF32) return launcher(EmbedKernel<float>, shape, task);
  return ForHalves(task.type,
                   [&](auto type) { return launcher(EmbedKernel<decltype(type)>, shape, task); });
}

template <class Launcher>
Fault LaunchAddNorm(const Launcher& launcher, const NormTask& task) {
  AWQ_CUDA_TRY(CheckWidth("norm", task.width));
  if (task.width > kMostThreads * kVector * kNormVectors) {
    return Unsupported("a norm over " + std::to_string(task.width) + " features");
  }
  if (task.tokens == 0) return {};
  LaunchShape shape;
  shape.blocks.x = static_cast<unsigned>(task.tokens);
  shape.threads = ThreadsFor(task.width);
  shape.shared_bytes = kWarp * sizeof(float);
  return ForHalves(task.out.type,
                   [&](auto type) { return launcher(AddNormKernel<decltype(type)>, shape, task); });
}

template <class Launcher>
Fault LaunchGate(const Launcher& launcher, const GateTask& task) {
  AWQ_CUDA_TRY(CheckWidth("gate", task.width));
  if (task.tokens == 0) return {};
  LaunchShape shape;
  shape.blocks = {static_cast<unsigned>(task.tokens),
                  CeilDiv(static_cast<unsigned>(task.width), kGateThreads * kVector)};
  shape.threads = kGateThreads;
  return ForHalves(task.out.type,
                   [&](auto type) { return launcher(GateKernel<decltype(type)>, shape, task); });
}

}  // namespace AWQ_CUDA_SIDE
}  // namespace awq::cuda
