// Eight neighbours of a row, in a thread's registers, and sums over lanes and threads in fixed
// order.
#pragma once

#include <cstdint>

#include "cuda/numbers.h"
#include "cuda/simt.h"

namespace awq::cuda {
inline namespace AWQ_CUDA_SIDE {

inline constexpr int kVector = 8;
inline constexpr int kWarp = 32;

// rows: null for the first ones.
__device__ __forceinline__ std::int64_t RowOf(const std::int32_t* rows, std::int64_t index) {
  return rows != nullptr ? rows[index] : index;
}

struct Vector {
  float values[kVector];

  __device__ Vector& operator+=(const Vector& other) {
    AWQ_UNROLL
    for (int i = 0; i < kVector; ++i) values[i] += other.values[i];
    return *this;
  }
};

// Of a size that is a template's parameter.
template <class T, int kCount>
using Array = T[static_cast<std::size_t>(kCount)];

// Moved as one.
template <class T>
struct alignas(sizeof(T) * kVector <= 16 ? sizeof(T) * kVector : 16) Eight {
  T elements[kVector];
};

template <class T>
__device__ __forceinline__ Vector Load(const T* from) {
  const Eight<T> eight = *reinterpret_cast<const Eight<T>*>(from);
  Vector x;
  AWQ_UNROLL
  for (int i = 0; i < kVector; ++i) x.values[i] = ToFloat(eight.elements[i]);
  return x;
}

template <class T>
__device__ __forceinline__ void Store(const Vector& x, T* to) {
  Eight<T> eight;
  AWQ_UNROLL
  for (int i = 0; i < kVector; ++i) eight.elements[i] = FromFloat<T>(x.values[i]);
  *reinterpret_cast<Eight<T>*>(to) = eight;
}

// bias: null, or of the whole row.
__device__ __forceinline__ Vector LoadWithBias(const float* from, const float* bias, int at) {
  Vector x = Load(from);
  if (bias != nullptr) x += Load(bias + at);
  return x;
}

__device__ __forceinline__ float Dot(const Vector& a, const Vector& b) {
  float sum = 0;
  AWQ_UNROLL
  for (int i = 0; i < kVector; ++i) sum += a.values[i] * b.values[i];
  return sum;
}

// to += x * factor
__device__ __forceinline__ void AddScaled(const Vector& x, float factor, Vector& to) {
  AWQ_UNROLL
  for (int i = 0; i < kVector; ++i) to.values[i] += x.values[i] * factor;
}

__device__ __forceinline__ float NotANumber() { return __uint_as_float(0x7fc00000U); }
__device__ __forceinline__ float MinusInfinity() { return __uint_as_float(0xff800000U); }

__device__ __forceinline__ float SumOverWarp(float x) {
  AWQ_UNROLL
  for (int step = kWarp / 2; step > 0; step /= 2) x += __shfl_xor_sync(kAllLanes, x, step);
  return x;
}

__device__ __forceinline__ float MaxOverWarp(float x) {
  AWQ_UNROLL
  for (int step = kWarp / 2; step > 0; step /= 2) {
    x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, step));
  }
  return x;
}

// Every thread gets it. warps: a float for each.
__device__ __forceinline__ float SumOverBlock(float x, float* warps) {
  x = SumOverWarp(x);
  if (LaneInWarp() == 0) warps[WarpInBlock()] = x;
  __syncthreads();
  const int lane = LaneInWarp();
  return SumOverWarp(lane < static_cast<int>(blockDim.x) / kWarp ? warps[lane] : 0.0F);
}

}  // namespace AWQ_CUDA_SIDE
}  // namespace awq::cuda
