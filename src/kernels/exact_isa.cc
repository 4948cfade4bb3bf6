// Compiled once per instruction set: no header with inline code may be included here, but for the
// compiler's own intrinsics.
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "kernels/panel_loops.h"
#include "kernels/scales_isa.h"

namespace awq::kernels::AWQ_ISA {
namespace {

// As many rows as a register has lanes.
#if defined(__AVX512BW__)
constexpr std::size_t kLanes = 16;
constexpr std::size_t kTile = 8;  // tokens whose sums stay in registers
#elif defined(__AVX2__)
constexpr std::size_t kLanes = 8;
constexpr std::size_t kTile = 4;
#else
constexpr std::size_t kLanes = 4;
constexpr std::size_t kTile = 4;
#endif
using Floats [[gnu::vector_size(kLanes * sizeof(float))]] = float;
using Words [[gnu::vector_size(kLanes * sizeof(std::uint32_t))]] = std::uint32_t;
using Integers [[gnu::vector_size(kLanes * sizeof(std::int32_t))]] = std::int32_t;

template <class Vector>
Vector Load(const void* from) {
  Vector vector;
  __builtin_memcpy(&vector, from, sizeof(vector));
  return vector;
}

// kLanes rows of the panel. Two chains of sums for each token, since one would wait for itself.
template <std::size_t kTokens>
void MultiplyRows(const ExactPanel& p, std::size_t first_token, std::size_t first_row) {
  const PanelWeights& w = p.weights;
  const std::size_t in = w.groups * w.group_inputs;
  const auto* x = static_cast<const float*>(p.x) + first_token * in;
  const std::uint8_t* codes = w.codes + first_row * 4;
  Floats y[kTokens] = {};
  for (std::size_t g = 0; g < w.groups; ++g) {
    Floats sums[kTokens][2] = {};
    for (std::size_t i = 0; i < w.group_inputs / 8; ++i, codes += 4 * kPanelRows) {
      const auto words = Load<Words>(codes);
#pragma GCC unroll 8
      for (std::size_t n = 0; n < 8; ++n) {
        const Words code = (words >> static_cast<std::uint32_t>(4 * n)) & 15U;
        const Floats value =
            __builtin_convertvector(reinterpret_cast<const Integers&>(code), Floats);
        const std::size_t input = g * w.group_inputs + 8 * i + n / 2 + n % 2 * 4;
#pragma GCC unroll 8
        for (std::size_t t = 0; t < kTokens; ++t) {
          sums[t][n % 2] += value * x[t * in + input];
        }
      }
    }
    float scales[kPanelRows];
    ReadScales(w.scales + g * kPanelRows, w.scales_are_bf16, scales);
    float zeros[kPanelRows];
    for (std::size_t r = 0; r < kPanelRows; ++r) zeros[r] = w.zeros[g * kPanelRows + r];
    const auto scale = Load<Floats>(scales + first_row);
    const auto zero = Load<Floats>(zeros + first_row);
    for (std::size_t t = 0; t < kTokens; ++t) {
      const float x_sum = p.x_sums[(first_token + t) * w.groups + g];
      y[t] += (sums[t][0] + sums[t][1] - zero * x_sum) * scale;
    }
  }
  for (std::size_t t = 0; t < kTokens; ++t) {
    __builtin_memcpy(p.outputs.y + (first_token + t) * p.outputs.stride + first_row, &y[t],
                     sizeof(y[t]));
  }
}

#if defined(__AVX512BF16__)

constexpr std::size_t kSteps = 4;  // shifts that bring all codes of a word to its low ends
// Of 0 to 15, twice: the lookup reads one bit more than a code has.
constexpr std::uint16_t kCodesAsBF16[32] = {
    0x0000, 0x3f80, 0x4000, 0x4040, 0x4080, 0x40a0, 0x40c0, 0x40e0, 0x4100, 0x4110, 0x4120,
    0x4130, 0x4140, 0x4150, 0x4160, 0x4170, 0x0000, 0x3f80, 0x4000, 0x4040, 0x4080, 0x40a0,
    0x40c0, 0x40e0, 0x4100, 0x4110, 0x4120, 0x4130, 0x4140, 0x4150, 0x4160, 0x4170};

template <std::size_t kTokens>
void MultiplyPairs(const ExactPanel& p, std::size_t first_token) {
  // One or two tokens alone would wait for their own sums.
  constexpr std::size_t kChains = kTokens <= 2 ? 4 : 2;
  const __m512i table = _mm512_loadu_si512(kCodesAsBF16);
  const PanelWeights& w = p.weights;
  const std::size_t in = w.groups * w.group_inputs;
  const auto* x = static_cast<const std::uint16_t*>(p.x) + first_token * in;
  const std::uint8_t* codes = w.codes;
  __m512 y[kTokens];
  for (std::size_t t = 0; t < kTokens; ++t) y[t] = _mm512_setzero_ps();
  for (std::size_t g = 0; g < w.groups; ++g) {
    __m512 sums[kTokens][kChains];
    for (std::size_t t = 0; t < kTokens; ++t) {
      for (std::size_t c = 0; c < kChains; ++c) sums[t][c] = _mm512_setzero_ps();
    }
    for (std::size_t i = 0; i < w.group_inputs; i += 8, codes += 4 * kPanelRows) {
      const __m512i words = _mm512_loadu_si512(codes);
#pragma GCC unroll 4
      for (std::size_t s = 0; s < kSteps; ++s) {
        const __m512i index = _mm512_srli_epi16(words, static_cast<int>(4 * s));
        const auto pairs = reinterpret_cast<__m512bh>(_mm512_permutexvar_epi16(index, table));
#pragma GCC unroll 8
        for (std::size_t t = 0; t < kTokens; ++t) {
          std::int32_t two;
          __builtin_memcpy(&two, x + t * in + i + 2 * s, sizeof(two));
          const auto both = reinterpret_cast<__m512bh>(_mm512_set1_epi32(two));
          sums[t][s % kChains] = _mm512_dpbf16_ps(sums[t][s % kChains], pairs, both);
        }
      }
    }
    x += w.group_inputs;
    float scales[kPanelRows];
    ReadScales(w.scales + g * kPanelRows, w.scales_are_bf16, scales);
    const __m512 scale = _mm512_loadu_ps(scales);
    const __m512 zero = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(
        _mm_loadu_si128(reinterpret_cast<const __m128i*>(w.zeros + g * kPanelRows))));
    for (std::size_t t = 0; t < kTokens; ++t) {
      __m512 sum = _mm512_add_ps(sums[t][0], sums[t][1]);
      if constexpr (kChains == 4) {
        sum = _mm512_add_ps(sum, _mm512_add_ps(sums[t][2], sums[t][3]));
      }
      const __m512 x_sum = _mm512_set1_ps(p.x_sums[(first_token + t) * w.groups + g]);
      sum = _mm512_fnmadd_ps(zero, x_sum, sum);
      y[t] = _mm512_fmadd_ps(sum, scale, y[t]);
    }
  }
  for (std::size_t t = 0; t < kTokens; ++t) {
    _mm512_storeu_ps(p.outputs.y + (first_token + t) * p.outputs.stride, y[t]);
  }
}

#endif

// Pairwise over 8 lanes.
float SumLanes(float* lanes) {
  for (std::size_t step = 4; step > 0; step /= 2) {
    for (std::size_t i = 0; i < step; ++i) lanes[i] += lanes[i + step];
  }
  return lanes[0];
}

void SumGroups(const float* x, std::size_t groups, std::size_t group_inputs, float* sums) {
  for (std::size_t g = 0; g < groups; ++g, x += group_inputs) {
    float lanes[8] = {};
    for (std::size_t i = 0; i < group_inputs; i += 8) {
      for (std::size_t l = 0; l < 8; ++l) lanes[l] += x[i + l];
    }
    sums[g] = SumLanes(lanes);
  }
}

// As ToBF16 in tensor/dtype.cc: a test compares.
std::uint32_t BF16Bits(float value) {
  const auto bits = __builtin_bit_cast(std::uint32_t, value);
  const std::uint32_t rounded = (bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16;
  const std::uint32_t nan = (bits >> 16) | 0x40U;
  return (bits & 0x7fffffffU) > 0x7f800000U ? nan : rounded;
}

void RoundPairs(const float* x, std::size_t groups, std::size_t group_inputs, std::uint16_t* pairs,
                float* sums) {
  for (std::size_t g = 0; g < groups; ++g) {
    float lanes[8] = {};
    for (std::size_t i = 0; i < group_inputs; i += 8, x += 8, pairs += 8) {
      std::uint32_t rounded[8];
      for (std::size_t l = 0; l < 8; ++l) {
        rounded[l] = BF16Bits(x[l]);
        lanes[l] += FromBits(rounded[l] << 16);
      }
      for (std::size_t l = 0; l < 8; ++l) {
        pairs[l] = static_cast<std::uint16_t>(rounded[kPairedInputs[l]]);
      }
    }
    sums[g] = SumLanes(lanes);
  }
}

template <std::size_t n>
struct Count {
  static constexpr std::size_t kValue = n;
};

// Tiles of kTokens, then of half as many, down to one.
template <std::size_t kTokens, class Body>
void ForTiles(std::size_t tokens, std::size_t first, Body body) {
  for (; first + kTokens <= tokens; first += kTokens) body(Count<kTokens>(), first);
  if constexpr (kTokens > 1) ForTiles<kTokens / 2>(tokens, first, body);
}

void MultiplyF32(const ExactPanel& p) {
  ForTiles<kTile>(p.outputs.tokens, 0, [&]<class Tile>(Tile, std::size_t first) {
    for (std::size_t r = 0; r < kPanelRows; r += kLanes) MultiplyRows<Tile::kValue>(p, first, r);
  });
}

#if defined(__AVX512BF16__)
void MultiplyBF16(const ExactPanel& p) {
  ForTiles<kTile>(p.outputs.tokens, 0, [&]<class Tile>(Tile, std::size_t first) {
    MultiplyPairs<Tile::kValue>(p, first);
  });
}
constexpr auto kMultiplyBF16 = MultiplyBF16;
#else
constexpr void (*kMultiplyBF16)(const ExactPanel&) = nullptr;
#endif

}  // namespace

extern const ExactLoops kExactLoops = {.multiply_f32 = MultiplyF32,
                                       .multiply_bf16 = kMultiplyBF16,
                                       .sum_groups = SumGroups,
                                       .round_pairs = RoundPairs};

}  // namespace awq::kernels::AWQ_ISA
