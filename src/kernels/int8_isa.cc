// Compiled once per instruction set: no header with inline code may be included here, but for the
// compiler's own intrinsics.
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "kernels/panel_loops.h"
#include "kernels/scales_isa.h"

namespace awq::kernels::AWQ_ISA {
namespace {

#if defined(__AVX512BW__)

// Sums of 4 products of unsigned and signed bytes, added to each lane.
__m512i DotBytes(__m512i sum, __m512i codes, __m512i x) {
#if defined(__AVX512VNNI__)
  return _mm512_dpbusd_epi32(sum, codes, x);
#else
  const __m512i pairs = _mm512_maddubs_epi16(codes, x);
  return _mm512_add_epi32(sum, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
#endif
}

__m512i Broadcast4(const std::int8_t* x) {
  std::int32_t four;
  __builtin_memcpy(&four, x, sizeof(four));
  return _mm512_set1_epi32(four);
}

template <std::size_t kTokens>
void Multiply(const Int8Panel& p) {
  const std::size_t in = p.weights.groups * p.weights.group_inputs;
  const std::size_t blocks = in / p.block_inputs;
  const std::size_t blocks_per_group = p.weights.group_inputs / p.block_inputs;
  // One token alone would wait for its own sums.
  constexpr std::size_t kChains = kTokens == 1 ? 4 : 2;
  const __m512i low_half = _mm512_set1_epi8(0x0f);
  __m512 y[kTokens];
  for (std::size_t t = 0; t < kTokens; ++t) y[t] = _mm512_setzero_ps();
  const std::uint8_t* codes = p.weights.codes;
  __m512 scale = _mm512_setzero_ps();
  __m512i zero = _mm512_setzero_si512();
  for (std::size_t b = 0; b < blocks; ++b) {
    if (b % blocks_per_group == 0) {
      const std::size_t g = b / blocks_per_group;
      float scales[kPanelRows];
      ReadScales(p.weights.scales + g * kPanelRows, p.weights.scales_are_bf16, scales);
      scale = _mm512_loadu_ps(scales);
      zero = _mm512_cvtepu8_epi32(
          _mm_loadu_si128(reinterpret_cast<const __m128i*>(p.weights.zeros + g * kPanelRows)));
    }
    __m512i sum[kTokens][kChains];
    for (std::size_t t = 0; t < kTokens; ++t) {
      for (std::size_t c = 0; c < kChains; ++c) sum[t][c] = _mm512_setzero_si512();
    }
    const std::int8_t* x = p.x + b * p.block_inputs;
    const std::size_t steps = p.block_inputs / 8;
    std::size_t i = 0;
    const auto step = [&](std::size_t at, std::size_t chain) {
      const __m512i both = _mm512_loadu_si512(codes + at * 64);
      const __m512i low = _mm512_and_si512(both, low_half);
      const __m512i high = _mm512_and_si512(_mm512_srli_epi16(both, 4), low_half);
      for (std::size_t t = 0; t < kTokens; ++t) {
        const std::int8_t* at_token = x + t * in + at * 8;
        sum[t][chain] = DotBytes(sum[t][chain], low, Broadcast4(at_token));
        sum[t][chain + 1] = DotBytes(sum[t][chain + 1], high, Broadcast4(at_token + 4));
      }
    };
    if constexpr (kChains == 4) {
      for (; i + 2 <= steps; i += 2) {
        step(i, 0);
        step(i + 1, 2);
      }
    }
    for (; i < steps; ++i) step(i, 0);
    codes += steps * 64;
    for (std::size_t t = 0; t < kTokens; ++t) {
      __m512i all = _mm512_add_epi32(sum[t][0], sum[t][1]);
      if constexpr (kChains == 4) {
        all = _mm512_add_epi32(all, _mm512_add_epi32(sum[t][2], sum[t][3]));
      }
      const std::size_t at = t * blocks + b;
      all = _mm512_sub_epi32(all, _mm512_mullo_epi32(zero, _mm512_set1_epi32(p.x_sums[at])));
      const __m512 factor = _mm512_mul_ps(scale, _mm512_set1_ps(p.x_scales[at]));
      y[t] = _mm512_add_ps(y[t], _mm512_mul_ps(_mm512_cvtepi32_ps(all), factor));
    }
  }
  for (std::size_t t = 0; t < kTokens; ++t)
    _mm512_storeu_ps(p.outputs.y + t * p.outputs.stride, y[t]);
}

#elif defined(__AVX2__)

__m256i Broadcast4(const std::int8_t* x) {
  std::int32_t four;
  __builtin_memcpy(&four, x, sizeof(four));
  return _mm256_set1_epi32(four);
}

// Eight rows of the panel; two of these make the sixteen, so that sums stay in registers.
template <std::size_t kTokens>
void MultiplyHalf(const Int8Panel& p, std::size_t first_row) {
  const std::size_t in = p.weights.groups * p.weights.group_inputs;
  const std::size_t blocks = in / p.block_inputs;
  const std::size_t blocks_per_group = p.weights.group_inputs / p.block_inputs;
  const __m256i low_half = _mm256_set1_epi8(0x0f);
  const __m256i ones = _mm256_set1_epi16(1);
  __m256 y[kTokens];
  for (std::size_t t = 0; t < kTokens; ++t) y[t] = _mm256_setzero_ps();
  const std::uint8_t* codes = p.weights.codes + first_row * 4;
  for (std::size_t b = 0; b < blocks; ++b) {
    const std::size_t g = b / blocks_per_group;
    float scales[kPanelRows];
    ReadScales(p.weights.scales + g * kPanelRows, p.weights.scales_are_bf16, scales);
    const __m256 scale = _mm256_loadu_ps(scales + first_row);
    const __m256i zero = _mm256_cvtepu8_epi32(_mm_loadl_epi64(
        reinterpret_cast<const __m128i*>(p.weights.zeros + g * kPanelRows + first_row)));
    __m256i sum[kTokens];
    for (std::size_t t = 0; t < kTokens; ++t) sum[t] = _mm256_setzero_si256();
    const std::int8_t* x = p.x + b * p.block_inputs;
    for (std::size_t i = 0; i < p.block_inputs / 8; ++i, codes += 64) {
      const __m256i both = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes));
      const __m256i low = _mm256_and_si256(both, low_half);
      const __m256i high = _mm256_and_si256(_mm256_srli_epi16(both, 4), low_half);
      for (std::size_t t = 0; t < kTokens; ++t) {
        const std::int8_t* at_token = x + t * in + i * 8;
        // At most 4 * 15 * 127: it fits 16 bits.
        const __m256i pairs =
            _mm256_add_epi16(_mm256_maddubs_epi16(low, Broadcast4(at_token)),
                             _mm256_maddubs_epi16(high, Broadcast4(at_token + 4)));
        sum[t] = _mm256_add_epi32(sum[t], _mm256_madd_epi16(pairs, ones));
      }
    }
    for (std::size_t t = 0; t < kTokens; ++t) {
      const std::size_t at = t * blocks + b;
      const __m256i all =
          _mm256_sub_epi32(sum[t], _mm256_mullo_epi32(zero, _mm256_set1_epi32(p.x_sums[at])));
      const __m256 factor = _mm256_mul_ps(scale, _mm256_set1_ps(p.x_scales[at]));
      y[t] = _mm256_add_ps(y[t], _mm256_mul_ps(_mm256_cvtepi32_ps(all), factor));
    }
  }
  for (std::size_t t = 0; t < kTokens; ++t) {
    _mm256_storeu_ps(p.outputs.y + t * p.outputs.stride + first_row, y[t]);
  }
}

template <std::size_t kTokens>
void Multiply(const Int8Panel& p) {
  MultiplyHalf<kTokens>(p, 0);
  MultiplyHalf<kTokens>(p, 8);
}

#else

template <std::size_t kTokens>
void Multiply(const Int8Panel& p) {
  const std::size_t in = p.weights.groups * p.weights.group_inputs;
  const std::size_t blocks = in / p.block_inputs;
  const std::size_t blocks_per_group = p.weights.group_inputs / p.block_inputs;
  float y[kTokens][kPanelRows] = {};
  const std::uint8_t* codes = p.weights.codes;
  for (std::size_t b = 0; b < blocks; ++b) {
    const std::size_t g = b / blocks_per_group;
    float scales[kPanelRows];
    ReadScales(p.weights.scales + g * kPanelRows, p.weights.scales_are_bf16, scales);
    std::int32_t sum[kTokens][kPanelRows] = {};
    const std::int8_t* x = p.x + b * p.block_inputs;
    for (std::size_t i = 0; i < p.block_inputs / 8; ++i, codes += 64) {
      for (std::size_t t = 0; t < kTokens; ++t) {
        const std::int8_t* at_token = x + t * in + i * 8;
        for (std::size_t r = 0; r < kPanelRows; ++r) {
          for (std::size_t k = 0; k < 4; ++k) {
            const std::int32_t both = codes[4 * r + k];
            sum[t][r] += (both & 15) * at_token[k] + (both >> 4) * at_token[4 + k];
          }
        }
      }
    }
    for (std::size_t t = 0; t < kTokens; ++t) {
      const std::size_t at = t * blocks + b;
      for (std::size_t r = 0; r < kPanelRows; ++r) {
        const std::int32_t all = sum[t][r] - p.weights.zeros[g * kPanelRows + r] * p.x_sums[at];
        y[t][r] += static_cast<float>(all) * (scales[r] * p.x_scales[at]);
      }
    }
  }
  for (std::size_t t = 0; t < kTokens; ++t) {
    for (std::size_t r = 0; r < kPanelRows; ++r) p.outputs.y[t * p.outputs.stride + r] = y[t][r];
  }
}

#endif

void MultiplyAny(const Int8Panel& p) {
  switch (p.outputs.tokens) {
    case 1:
      return Multiply<1>(p);
    case 2:
      return Multiply<2>(p);
    case 3:
      return Multiply<3>(p);
    case 4:
      return Multiply<4>(p);
    case 5:
      return Multiply<5>(p);
    case 6:
      return Multiply<6>(p);
    case 7:
      return Multiply<7>(p);
    default:
      return Multiply<8>(p);
  }
}

void Quantize(const float* x, std::size_t blocks, std::size_t block_inputs, std::int8_t* codes,
              float* scales, std::int32_t* sums) {
  constexpr float kRounder = 12582912.0F;  // 1.5 * 2^23: adding it rounds to an integer
  for (std::size_t b = 0; b < blocks; ++b) {
    const float* from = x + b * block_inputs;
    std::int8_t* to = codes + b * block_inputs;
    std::uint32_t most_bits = 0;  // of magnitudes, which order as their bits do, NaN above all
    for (std::size_t i = 0; i < block_inputs; ++i) {
      const std::uint32_t magnitude = __builtin_bit_cast(std::uint32_t, from[i]) & 0x7fffffffU;
      most_bits = magnitude > most_bits ? magnitude : most_bits;
    }
    if (most_bits >= 0x7f800000U) {
      for (std::size_t i = 0; i < block_inputs; ++i) to[i] = 0;
      scales[b] = FromBits(0x7fc00000U);
      sums[b] = 0;
      continue;
    }
    const float most = FromBits(most_bits);
    // Where the inverse would overflow, the inputs count for nothing.
    const bool counts = most > 0x1p-100F;
    const float inverse = counts ? 127.0F / most : 0;
    std::int32_t sum = 0;
    for (std::size_t i = 0; i < block_inputs; ++i) {
      const float rounded = (from[i] * inverse + kRounder) - kRounder;
      const auto code = static_cast<std::int32_t>(rounded);
      to[i] = static_cast<std::int8_t>(code);
      sum += code;
    }
    scales[b] = counts ? most / 127.0F : 0;
    sums[b] = sum;
  }
}

}  // namespace

extern const Int8Loops kInt8Loops = {.multiply = MultiplyAny, .quantize = Quantize};

}  // namespace awq::kernels::AWQ_ISA
