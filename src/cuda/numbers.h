// The 16-bit floats of activations and scales, as bits, on both sides of the bus. No header of
// CUDA's: other folders include this one.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)
#define AWQ_BOTH_SIDES __host__ __device__ inline
#else
#define AWQ_BOTH_SIDES inline
#endif

namespace awq::cuda {

struct Half {
  std::uint16_t bits;
};
struct Bfloat16 {
  std::uint16_t bits;
};

// std::bit_cast, which nvcc's front end has not everywhere.
template <class To, class From>
AWQ_BOTH_SIDES To BitCast(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(&to, &from, sizeof(to));
  return to;
}

AWQ_BOTH_SIDES float ToFloat(float x) { return x; }

AWQ_BOTH_SIDES float ToFloat(Half x) {
#if defined(__CUDA_ARCH__)
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
  return y;
#else
  const std::uint32_t sign = (x.bits & 0x8000u) << 16;
  const std::uint32_t exponent = (x.bits >> 10) & 31u;
  const std::uint32_t fraction = x.bits & 1023u;
  if (exponent == 0) {  // zero and subnormals: fraction * 2^-24, exact
    const float magnitude = static_cast<float>(fraction) * 0x1p-24f;
    return sign != 0 ? -magnitude : magnitude;
  }
  const std::uint32_t wide = exponent == 31 ? 255u : exponent + 112u;
  return BitCast<float>(sign | wide << 23 | fraction << 13);
#endif
}

AWQ_BOTH_SIDES float ToFloat(Bfloat16 x) {
#if defined(__CUDA_ARCH__)
  return __uint_as_float(static_cast<std::uint32_t>(x.bits) << 16);
#else
  return BitCast<float>(static_cast<std::uint32_t>(x.bits) << 16);
#endif
}

// Rounds to nearest, ties to even; what is too large becomes infinite.
template <class T>
AWQ_BOTH_SIDES T FromFloat(float x);

template <>
AWQ_BOTH_SIDES float FromFloat<float>(float x) {
  return x;
}

template <>
AWQ_BOTH_SIDES Bfloat16 FromFloat<Bfloat16>(float x) {
#if defined(__CUDA_ARCH__)
  std::uint16_t bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
  return {bits};
#else
  const std::uint32_t bits = BitCast<std::uint32_t>(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) {
    return {static_cast<std::uint16_t>(bits >> 16 | 0x40u)};  // NaN stays one
  }
  return {static_cast<std::uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16)};
#endif
}

template <>
AWQ_BOTH_SIDES Half FromFloat<Half>(float x) {
#if defined(__CUDA_ARCH__)
  std::uint16_t bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
  return {bits};
#else
  const std::uint32_t bits = BitCast<std::uint32_t>(x);
  const std::uint16_t sign = static_cast<std::uint16_t>(bits >> 16 & 0x8000u);
  const float magnitude = BitCast<float>(bits & 0x7fffffffu);
  std::uint32_t result = 0;
  if (!(magnitude < 65520.0f)) {  // rounds to infinity, or is NaN
    result = magnitude != magnitude ? 0x7e00u : 0x7c00u;
  } else if (magnitude < 0x1p-14f) {  // adding 1/2 rounds to a multiple of 2^-24
    result = BitCast<std::uint32_t>(magnitude + 0.5f) - BitCast<std::uint32_t>(0.5f);
  } else {
    const std::uint32_t wide = bits & 0x7fffffffu;
    result = (wide + 0xfffu + (wide >> 13 & 1u) - (112u << 23)) >> 13;
  }
  return {static_cast<std::uint16_t>(sign | result)};
#endif
}

}  // namespace awq::cuda
