// Compiled once per instruction set: no header with inline code may be included here, but for the
// compiler's own intrinsics.
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "kernels/panel_isa.h"
#include "kernels/panel_loops.h"

namespace awq::kernels::AWQ_ISA {
namespace {

// kLanes rows of the panel. Two chains of sums for each token, since one would wait for itself.
template <std::size_t kTokens, std::size_t kBits>
void MultiplyRows(const ExactPanel& p, std::size_t first_token, std::size_t first_row) {
  const PanelWeights& w = p.weights;
  const std::size_t in = w.groups * w.group_inputs;
  const auto* x = static_cast<const float*>(p.x) + first_token * in;
  const std::uint8_t* codes = w.codes + first_row * 4;
  Floats y[kTokens] = {};
  for (std::size_t g = 0; g < w.groups; ++g) {
    Floats sums[kTokens][2] = {};
    for (std::size_t i = 0; i < w.group_inputs; i += 8) {
      const std::size_t part = i % RunOf(kBits) / 8;
      __builtin_prefetch(codes + part * kBits * kPanelRows + kAheadBytes);
#pragma GCC unroll 8
      for (std::size_t n = 0; n < 8; ++n) {
        const Words code = CodesOf<kBits>(codes, 8 * part + n);
        const Floats value =
            __builtin_convertvector(reinterpret_cast<const Integers&>(code), Floats);
#pragma GCC unroll 8
        for (std::size_t t = 0; t < kTokens; ++t) {
          sums[t][n % 2] += value * x[t * in + g * w.group_inputs + i + n];
        }
      }
      if (part + 1 == RunOf(kBits) / 8) codes += RunOf(kBits) * kBits / 8 * kPanelRows;
    }
    const Floats scale = ReadScales(w, g, first_row);
    const Floats zero = __builtin_convertvector(ReadZeros<kBits>(w, g, first_row), Floats);
    for (std::size_t t = 0; t < kTokens; ++t) {
      const float x_sum = p.x_sums[(first_token + t) * w.groups + g];
      y[t] += (sums[t][0] + sums[t][1] - zero * x_sum) * scale;
    }
  }
  for (std::size_t t = 0; t < kTokens; ++t) Store(y[t], p.outputs, first_token + t, first_row);
}

#if defined(__AVX512BF16__)

using Pairs [[gnu::vector_size(64)]] = std::uint16_t;
constexpr std::size_t kSteps =
    4;  // shifts that bring all of a word to its low ends, four bits each
// Of 0 to 15, twice: the lookup reads one bit more than a code has.
constexpr std::uint16_t kCodesAsBF16[32] = {
    0x0000, 0x3f80, 0x4000, 0x4040, 0x4080, 0x40a0, 0x40c0, 0x40e0, 0x4100, 0x4110, 0x4120,
    0x4130, 0x4140, 0x4150, 0x4160, 0x4170, 0x0000, 0x3f80, 0x4000, 0x4040, 0x4080, 0x40a0,
    0x40c0, 0x40e0, 0x4100, 0x4110, 0x4120, 0x4130, 0x4140, 0x4150, 0x4160, 0x4170};

// In a run, the codes of inputs [8 part, 8 part + 8) as kSteps lookups of a pair of inputs each,
// with the pair's place among kPairedInputs. Codes of 8 bits go as two of 4, whose sums are added
// at a group's end: first the low halves of inputs 0 to 3, the high ones, then those of inputs 4
// to 7.
template <std::size_t kBits>
struct Lookup {
  static constexpr std::size_t kCount = kBits == 8 ? 2 * kSteps : kSteps;
  static constexpr std::size_t PairOf(std::size_t step) {
    return kBits == 8 ? step % kSteps / 2 * 2 + step / kSteps : step;
  }
  static Pairs Index(const std::uint8_t* run, std::size_t part, std::size_t step) {
    constexpr std::size_t kStep = 4 * kPanelRows;
    if constexpr (kBits == 3) {
      const std::size_t four = 2 * part + step % 2;
      const std::size_t byte = step / 2 * 8;
      const Pairs low =
          Load<Pairs>(run + part / 2 * kStep) >> static_cast<std::uint16_t>(byte + 2 * (four % 4));
      const Pairs all = Load<Pairs>(run + 2 * kStep);
      const Pairs high = byte + four < 2 ? all << static_cast<std::uint16_t>(2 - four)
                                         : all >> static_cast<std::uint16_t>(byte + four - 2);
      return (low & 3U) | (high & 4U);
    } else {
      return Load<Pairs>(run + step / kSteps * kStep) >>
             static_cast<std::uint16_t>(4 * (step % kSteps));
    }
  }
};

template <std::size_t kTokens, std::size_t kBits>
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
    for (std::size_t i = 0; i < w.group_inputs; i += RunOf(kBits)) {
      ForParts<kBits>([&](auto which) __attribute__((always_inline)) {
        constexpr std::size_t part = decltype(which)::kValue;
        __builtin_prefetch(codes + part * kBits * kPanelRows + kAheadBytes);
#pragma GCC unroll 8
        for (std::size_t step = 0; step < Lookup<kBits>::kCount; ++step) {
          const Pairs index = Lookup<kBits>::Index(codes, part, step);
          const std::size_t pair = Lookup<kBits>::PairOf(step);
          const std::size_t chain =
              kBits == 8 ? (step % 2 + 2 * (step / kSteps)) % kChains : step % kChains;
          const auto pairs = reinterpret_cast<__m512bh>(
              _mm512_permutexvar_epi16(reinterpret_cast<__m512i>(index), table));
#pragma GCC unroll 8
          for (std::size_t t = 0; t < kTokens; ++t) {
            std::int32_t two;
            __builtin_memcpy(&two, x + t * in + i + 8 * part + 2 * pair, sizeof(two));
            const auto both = reinterpret_cast<__m512bh>(_mm512_set1_epi32(two));
            sums[t][chain] = _mm512_dpbf16_ps(sums[t][chain], pairs, both);
          }
        }
      });
      codes += RunOf(kBits) * kBits / 8 * kPanelRows;
    }
    x += w.group_inputs;
    const Floats scale = ReadScales(w, g, 0);
    const Floats zero = __builtin_convertvector(ReadZeros<kBits>(w, g, 0), Floats);
    for (std::size_t t = 0; t < kTokens; ++t) {
      __m512 low = sums[t][0];
      __m512 high = sums[t][1];
      if constexpr (kChains == 4) {
        low = _mm512_add_ps(low, sums[t][2]);
        high = _mm512_add_ps(high, sums[t][3]);
      }
      const __m512 weight = _mm512_set1_ps(kBits == 8 ? 16.0F : 1.0F);
      __m512 sum = _mm512_fmadd_ps(high, weight, low);
      const __m512 x_sum = _mm512_set1_ps(p.x_sums[(first_token + t) * w.groups + g]);
      sum = _mm512_fnmadd_ps(zero, x_sum, sum);
      y[t] = _mm512_fmadd_ps(sum, scale, y[t]);
    }
  }
  for (std::size_t t = 0; t < kTokens; ++t) Store(y[t], p.outputs, first_token + t, 0);
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
        lanes[l] += __builtin_bit_cast(float, rounded[l] << 16);
      }
      for (std::size_t l = 0; l < 8; ++l) {
        pairs[l] = static_cast<std::uint16_t>(rounded[kPairedInputs[l]]);
      }
    }
    sums[g] = SumLanes(lanes);
  }
}

void MultiplyF32(const ExactPanel& p) {
  ForTilesOf<kTile>(p, [&]<class Tile, class Bits>(Tile, Bits, std::size_t first) {
    for (std::size_t r = 0; r < kPanelRows; r += kLanes) {
      MultiplyRows<Tile::kValue, Bits::kValue>(p, first, r);
    }
  });
}

#if defined(__AVX512BF16__)
void MultiplyBF16(const ExactPanel& p) {
  ForTilesOf<kTile>(p, [&]<class Tile, class Bits>(Tile, Bits, std::size_t first) {
    MultiplyPairs<Tile::kValue, Bits::kValue>(p, first);
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
