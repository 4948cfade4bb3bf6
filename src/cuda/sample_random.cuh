// Arithmetic that must be the CPU sampler's bit for bit: nothing is contracted.
#pragma once

#include <cstdint>

#include "cuda/simt.h"

namespace awq::cuda {
inline namespace AWQ_CUDA_SIDE {

__device__ __forceinline__ float Times(float a, float b) {
#if defined(__CUDACC__)
  return __fmul_rn(a, b);
#else
  return a * b;
#endif
}
__device__ __forceinline__ float Plus(float a, float b) {
#if defined(__CUDACC__)
  return __fadd_rn(a, b);
#else
  return a + b;
#endif
}

// math/vector_isa.cc's, for x up to 0.
__device__ __forceinline__ float ExactExp(float x) {
  constexpr float kShift = 0x1.8p23F;  // adding it rounds to an integer
  const float clamped = x < -87.0F ? -87.0F : x;
  const float shifted = Plus(Times(clamped, 1.44269504F), kShift);
  const float n = Plus(shifted, -kShift);
  const float r = Plus(Plus(clamped, -Times(n, 0.693359375F)), -Times(n, -2.12194440e-4F));
  float p = 1.0F / 5040;
  p = Plus(Times(p, r), 1.0F / 720);
  p = Plus(Times(p, r), 1.0F / 120);
  p = Plus(Times(p, r), 1.0F / 24);
  p = Plus(Times(p, r), 1.0F / 6);
  p = Plus(Times(p, r), 0.5F);
  p = Plus(Times(p, r), 1.0F);
  p = Plus(Times(p, r), 1.0F);
  const float power = __uint_as_float((__float_as_uint(shifted) + 127U) << 23);
  return x < -87.0F ? 0.0F : Times(p, power);
}

__device__ __host__ __forceinline__ std::uint64_t MixRandom(std::uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
  return z ^ (z >> 31);
}
inline constexpr std::uint64_t kRandomStep = 0x9e3779b97f4a7c15U;

// 53 random bits: the number in [0, 1) is so many times 2^-53.
__device__ __forceinline__ std::uint64_t NextRandom(std::uint64_t& state) {
  state += kRandomStep;
  return MixRandom(state) >> 11;
}

}  // namespace AWQ_CUDA_SIDE
}  // namespace awq::cuda
