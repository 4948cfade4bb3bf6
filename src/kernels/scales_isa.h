// For files that are compiled once per instruction set, and for no others: what stands here has
// internal linkage in each.
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "kernels/panel_loops.h"

namespace awq::kernels::AWQ_ISA {
namespace {

float FromBits(std::uint32_t bits) { return __builtin_bit_cast(float, bits); }

// The scales of one group, as floats.
void ReadScales(const std::uint16_t* from, bool are_bf16, float* to) {
#if defined(__AVX512BW__)
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  const __m512 widened = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  _mm512_storeu_ps(to, are_bf16 ? widened : _mm512_cvtph_ps(bits));
#else
  for (std::size_t r = 0; r < kPanelRows; ++r) {
    const std::uint32_t bits = from[r];
    if (are_bf16) {
      to[r] = FromBits(bits << 16);
      continue;
    }
    // Finite ones only: what is loaded has been checked.
    const std::uint32_t sign = (bits & 0x8000U) << 16;
    const float magnitude = FromBits((bits & 0x7fffU) << 13) * 0x1p112F;
    to[r] = FromBits(sign | __builtin_bit_cast(std::uint32_t, magnitude));
  }
#endif
}

}  // namespace
}  // namespace awq::kernels::AWQ_ISA
