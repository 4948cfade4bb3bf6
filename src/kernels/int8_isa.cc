// Compiled once per instruction set: no header with inline code may be included here, but for the
// compiler's own intrinsics.
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(AWQ_NEON)
#include <arm_neon.h>
#endif

#include "kernels/panel_isa.h"
#include "kernels/panel_loops.h"

namespace awq::kernels::AWQ_ISA {
namespace {

// The codes of the inputs [8 part, 8 part + 8) of a run for kLanes rows, as a set has them: Add
// adds their products with a token's inputs to two sums, which may be one and the same unless
// kNeedsTwo, and of which Sum makes the rows' own.
struct CodesOfAnySum {
  static constexpr bool kNeedsTwo = false;
  static Integers Sum(const Integers (&one)[1]) { return one[0]; }
  static Integers Sum(const Integers (&two)[2]) { return two[0] + two[1]; }
};

#if defined(__AVX2__)

#if defined(__AVX512BW__)
using Bytes = __m512i;
Bytes And(Bytes v, std::int8_t mask) { return _mm512_and_si512(v, _mm512_set1_epi8(mask)); }
Bytes Or(Bytes a, Bytes b) { return _mm512_or_si512(a, b); }
Bytes Broadcast(std::int32_t four) { return _mm512_set1_epi32(four); }
#if !defined(__AVX512VNNI__)
Bytes Pairs(Bytes codes, Bytes x) { return _mm512_maddubs_epi16(codes, x); }
Bytes Add16(Bytes a, Bytes b) { return _mm512_add_epi16(a, b); }
Bytes Times(Bytes pairs, short factor) {
  return _mm512_madd_epi16(pairs, _mm512_set1_epi16(factor));
}
#endif
#else
using Bytes = __m256i;
Bytes And(Bytes v, std::int8_t mask) { return _mm256_and_si256(v, _mm256_set1_epi8(mask)); }
Bytes Or(Bytes a, Bytes b) { return _mm256_or_si256(a, b); }
Bytes Broadcast(std::int32_t four) { return _mm256_set1_epi32(four); }
Bytes Pairs(Bytes codes, Bytes x) { return _mm256_maddubs_epi16(codes, x); }
Bytes Add16(Bytes a, Bytes b) { return _mm256_add_epi16(a, b); }
Bytes Times(Bytes pairs, short factor) {
  return _mm256_madd_epi16(pairs, _mm256_set1_epi16(factor));
}
#endif

Bytes Low(Bytes v) { return And(v, 0x0f); }
Bytes High(Bytes v) {
  using Shorts [[gnu::vector_size(sizeof(Bytes))]] = std::uint16_t;
  return Low(reinterpret_cast<Bytes>(reinterpret_cast<Shorts>(v) >> 4));
}

// In a run of 3-bit codes, those of inputs [4 k, 4 k + 4).
Bytes FourOfThreeBits(const std::uint8_t* run, std::size_t k) {
  using Shorts [[gnu::vector_size(sizeof(Bytes))]] = std::uint16_t;
  const auto low = Load<Shorts>(run + k / 4 * 4 * kPanelRows) >> static_cast<short>(2 * (k % 4));
  const auto all = Load<Shorts>(run + 8 * kPanelRows);
  const auto high = k < 2 ? all << static_cast<short>(2 - k) : all >> static_cast<short>(k - 2);
  return Or(And(reinterpret_cast<Bytes>(low), 3), And(reinterpret_cast<Bytes>(high), 4));
}

Bytes Four(const std::int8_t* x) { return Broadcast(Load<std::int32_t>(x)); }

#if defined(__AVX512VNNI__)

template <std::size_t kBits>
struct Codes : CodesOfAnySum {
  Codes(const std::uint8_t* run, std::size_t part) {
    if constexpr (kBits == 3) {
      first = FourOfThreeBits(run, 2 * part);
      second = FourOfThreeBits(run, 2 * part + 1);
    } else {
      const auto words = Load<Bytes>(run);
      first = kBits == 4 ? Low(words) : words;
      second = kBits == 4 ? High(words) : Load<Bytes>(run + 4 * kPanelRows);
    }
  }
  void Add(const std::int8_t* x, Integers& even, Integers& odd) const {
    even = reinterpret_cast<Integers>(
        _mm512_dpbusd_epi32(reinterpret_cast<Bytes>(even), first, Four(x)));
    odd = reinterpret_cast<Integers>(
        _mm512_dpbusd_epi32(reinterpret_cast<Bytes>(odd), second, Four(x + 4)));
  }
  Bytes first;
  Bytes second;
};

#else

// Products of bytes are added in 16 bits, which four of codes up to 15 cannot fill.
Integers Products(Bytes first, Bytes second, Bytes x, Bytes next, short factor) {
  return reinterpret_cast<Integers>(Times(Add16(Pairs(first, x), Pairs(second, next)), factor));
}

template <std::size_t kBits>
struct Codes : CodesOfAnySum {
  Codes(const std::uint8_t* run, std::size_t part) {
    if constexpr (kBits == 3) {
      first = FourOfThreeBits(run, 2 * part);
      second = FourOfThreeBits(run, 2 * part + 1);
    } else {
      first = kBits == 4 ? Low(Load<Bytes>(run)) : Load<Bytes>(run);
      second = kBits == 4 ? High(Load<Bytes>(run)) : Load<Bytes>(run + 4 * kPanelRows);
    }
  }
  void Add(const std::int8_t* x, Integers& even, Integers& odd) const {
    if constexpr (kBits < 8) {
      even += Products(first, second, Four(x), Four(x + 4), 1);
    } else {
      even += Products(Low(first), Low(second), Four(x), Four(x + 4), 1);
      odd += Products(High(first), High(second), Four(x), Four(x + 4), 16);
    }
  }
  Bytes first;
  Bytes second;
};

#endif
#elif defined(AWQ_NEON)

int8x16_t LowHalves(uint8x16_t bytes) {
  return vreinterpretq_s8_u8(vandq_u8(bytes, vdupq_n_u8(0x0f)));
}
int8x16_t HighHalves(uint8x16_t bytes) { return vreinterpretq_s8_u8(vshrq_n_u8(bytes, 4)); }

// In a run of 3-bit codes, those of inputs [4 k, 4 k + 4).
int8x16_t FourOfThreeBits(const std::uint8_t* run, std::size_t k) {
  const auto low_shift = static_cast<std::int8_t>(-static_cast<int>(2 * (k % 4)));
  const auto high_shift = static_cast<std::int8_t>(2 - static_cast<int>(k));
  const uint8x16_t low = vld1q_u8(run + k / 4 * 4 * kPanelRows);
  const uint8x16_t high = vld1q_u8(run + 8 * kPanelRows);
  return vreinterpretq_s8_u8(
      vorrq_u8(vandq_u8(vshlq_u8(low, vdupq_n_s8(low_shift)), vdupq_n_u8(3)),
               vandq_u8(vshlq_u8(high, vdupq_n_s8(high_shift)), vdupq_n_u8(4))));
}

// Of inputs [0, 4) and [4, 8). These sets multiply signed bytes, so codes of 8 bits go as their low
// and high halves.
template <std::size_t kBits>
struct Codes {
  static constexpr bool kNeedsTwo = true;
  static constexpr bool kHalves = kBits == 8;
  Codes(const std::uint8_t* run, std::size_t part) {
    if constexpr (kBits == 3) {
      low[0] = FourOfThreeBits(run, 2 * part);
      low[1] = FourOfThreeBits(run, 2 * part + 1);
    } else if constexpr (kBits == 4) {
      low[0] = LowHalves(vld1q_u8(run));
      low[1] = HighHalves(vld1q_u8(run));
    } else {
      for (std::size_t n = 0; n < 2; ++n) {
        low[n] = LowHalves(vld1q_u8(run + n * 4 * kPanelRows));
        high[n] = HighHalves(vld1q_u8(run + n * 4 * kPanelRows));
      }
    }
  }
#if defined(__ARM_FEATURE_DOTPROD)
  void Add(const std::int8_t* x, Integers& even, Integers& odd) const {
    const int8x8_t eight = vld1_s8(x);
    even = vdotq_lane_s32(even, low[0], eight, 0);
    Integers& other = kHalves ? even : odd;
    other = vdotq_lane_s32(other, low[1], eight, 1);
    if constexpr (kHalves) {
      odd = vdotq_lane_s32(odd, high[0], eight, 0);
      odd = vdotq_lane_s32(odd, high[1], eight, 1);
    }
  }
  static Integers Sum(const Integers (&two)[2]) {
    return kHalves ? two[0] + 16 * two[1] : two[0] + two[1];
  }
#else
  // What is added in 16 bits is at most (15 + 16 * 15) 128. The first two rows' products go to one
  // sum, the others' to the second, two lanes a row.
  void Add(const std::int8_t* x, Integers& even, Integers& odd) const {
    for (std::size_t n = 0; n < 2; ++n) {
      const int8x8_t four = vreinterpret_s8_s32(vdup_n_s32(Load<std::int32_t>(x + 4 * n)));
      int16x8_t first = vmull_s8(vget_low_s8(low[n]), four);
      int16x8_t second = vmull_s8(vget_high_s8(low[n]), four);
      if constexpr (kHalves) {
        first = vmlaq_n_s16(first, vmull_s8(vget_low_s8(high[n]), four), 16);
        second = vmlaq_n_s16(second, vmull_s8(vget_high_s8(high[n]), four), 16);
      }
      even = vpadalq_s16(even, first);
      odd = vpadalq_s16(odd, second);
    }
  }
  static Integers Sum(const Integers (&two)[2]) { return vpaddq_s32(two[0], two[1]); }
#endif
  int8x16_t low[2];
  int8x16_t high[2];
};

#else

template <std::size_t kBits>
struct Codes : CodesOfAnySum {
  Codes(const std::uint8_t* run, std::size_t part) {
    for (std::size_t n = 0; n < 8; ++n) {
      of[n] = reinterpret_cast<Integers>(CodesOf<kBits>(run, 8 * part + n));
    }
  }
  void Add(const std::int8_t* x, Integers& even, Integers& odd) const {
    for (std::size_t n = 0; n < 8; ++n) (n % 2 == 0 ? even : odd) += of[n] * x[n];
  }
  Integers of[8];
};

#endif

// sum + a b, rounded once.
Floats AddProduct(Floats sum, Floats a, float b) {
#if defined(__AVX512BW__)
  return _mm512_fmadd_ps(a, _mm512_set1_ps(b), sum);
#elif defined(__AVX2__)
  return _mm256_fmadd_ps(a, _mm256_set1_ps(b), sum);
#elif defined(AWQ_NEON)
  return vfmaq_n_f32(sum, a, b);
#else
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    sum[lane] = __builtin_fmaf(a[lane], b, sum[lane]);
  }
  return sum;
#endif
}

// The nth panel after one, as they lie in memory.
template <std::size_t kBits>
PanelWeights PanelAfter(const PanelWeights& first, std::size_t n) {
  PanelWeights w = first;
  w.codes += n * kPanelRows * w.groups * w.group_inputs * kBits / 8;
  w.scales += n * kPanelRows * w.groups;
  w.zeros += n * kZeroBytes<kBits> * w.groups;
  return w;
}

// Adds the products of a block's codes and inputs, those of tokens `in` apart, and goes on to the
// next codes.
template <std::size_t kPanels, std::size_t kTokens, std::size_t kBits, std::size_t kSums>
[[gnu::always_inline]] inline void AddBlock(const std::int8_t* x, std::size_t in,
                                            std::size_t block_inputs,
                                            const std::uint8_t* (&codes)[kPanels],
                                            Integers (&sums)[kPanels][kTokens][kSums]) {
  for (std::size_t i = 0; i < block_inputs; i += RunOf(kBits)) {
    ForParts<kBits>([&](auto which) __attribute__((always_inline)) {
      constexpr std::size_t part = decltype(which)::kValue;
#pragma GCC unroll 2
      for (std::size_t n = 0; n < kPanels; ++n) {
        __builtin_prefetch(codes[n] + part * kBits * kPanelRows + kAheadBytes);
      }
      const Codes<kBits> first(codes[0], part);
      const Codes<kBits> last(codes[kPanels - 1], part);
#pragma GCC unroll 8
      for (std::size_t t = 0; t < kTokens; ++t) {
        const std::int8_t* eight = x + t * in + i + 8 * part;
        first.Add(eight, sums[0][t][0], sums[0][t][kSums - 1]);
        if constexpr (kPanels == 2) last.Add(eight, sums[1][t][0], sums[1][t][kSums - 1]);
      }
    });
#pragma GCC unroll 2
    for (auto& each : codes) each += RunOf(kBits) * kBits / 8 * kPanelRows;
  }
}

// kLanes rows of each of kPanels panels from first_panel on.
template <std::size_t kPanels, std::size_t kTokens, std::size_t kBits>
void MultiplyRows(const Int8Panel& p, std::size_t first_panel, std::size_t first_token,
                  std::size_t first_row) {
  PanelWeights w[kPanels];
  const std::uint8_t* codes[kPanels];
#pragma GCC unroll 2
  for (std::size_t n = 0; n < kPanels; ++n) {
    w[n] = PanelAfter<kBits>(p.weights, first_panel + n);
    codes[n] = w[n].codes + first_row * 4;
  }
  const std::size_t groups = p.weights.groups;
  const std::size_t in = groups * p.weights.group_inputs;
  const std::size_t blocks = in / p.block_inputs;
  const std::size_t blocks_per_group = p.weights.group_inputs / p.block_inputs;
  const std::int8_t* x = p.x + first_token * in;
  // One or two sums alone would wait for themselves.
  constexpr std::size_t kSums = kPanels * kTokens <= 2 || Codes<kBits>::kNeedsTwo ? 2 : 1;
  Floats y[kPanels][kTokens] = {};
  std::size_t b = 0;
  for (std::size_t g = 0; g < groups; ++g) {
    // y waits in memory: the compiler would take its registers from the inner loop.
    asm volatile("" : : "r"(y) : "memory");
    Floats of_codes[kPanels][kTokens] = {};
    for (const std::size_t end = b + blocks_per_group; b < end; ++b, x += p.block_inputs) {
      Integers sums[kPanels][kTokens][kSums] = {};
      AddBlock<kPanels, kTokens, kBits>(x, in, p.block_inputs, codes, sums);
#pragma GCC unroll 8
      for (std::size_t t = 0; t < kTokens; ++t) {
        const float scale = p.x_scales[(first_token + t) * blocks + b];
#pragma GCC unroll 2
        for (std::size_t n = 0; n < kPanels; ++n) {
          const Integers sum = Codes<kBits>::Sum(sums[n][t]);
          of_codes[n][t] = AddProduct(of_codes[n][t], __builtin_convertvector(sum, Floats), scale);
        }
      }
    }
#pragma GCC unroll 2
    for (std::size_t n = 0; n < kPanels; ++n) {
      const Floats scale = ReadScales(w[n], g, first_row);
      const Floats zero = __builtin_convertvector(ReadZeros<kBits>(w[n], g, first_row), Floats);
#pragma GCC unroll 8
      for (std::size_t t = 0; t < kTokens; ++t) {
        const float x_sum = p.x_sums[(first_token + t) * groups + g];
        y[n][t] += (of_codes[n][t] - zero * x_sum) * scale;
      }
    }
  }
#pragma GCC unroll 2
  for (std::size_t n = 0; n < kPanels; ++n) {
    const std::size_t column = (first_panel + n) * kPanelRows + first_row;
#pragma GCC unroll 8
    for (std::size_t t = 0; t < kTokens; ++t) {
      Store(y[n][t], p.outputs, first_token + t, column);
    }
  }
}

void Multiply(const Int8Panel& p) {
#if defined(__AVX512BW__)
  // What is read of x serves both, and reading it is what these sets wait for.
  if (p.panels == 2) {
    return ForTilesOf<kTile / 2>(p, [&]<class Tile, class Bits>(Tile, Bits, std::size_t first) {
      MultiplyRows<2, Tile::kValue, Bits::kValue>(p, 0, first, 0);
    });
  }
#endif
  for (std::size_t n = 0; n < p.panels; ++n) {
    ForTilesOf<kTile>(p, [&]<class Tile, class Bits>(Tile, Bits, std::size_t first) {
      for (std::size_t r = 0; r < kPanelRows; r += kLanes) {
        MultiplyRows<1, Tile::kValue, Bits::kValue>(p, n, first, r);
      }
    });
  }
}

float FloatOf(std::uint32_t bits) { return __builtin_bit_cast(float, bits); }

// One block; returns the sum of its codes times its scale.
float QuantizeBlock(const float* x, std::size_t inputs, std::int8_t* codes, float* scale) {
  constexpr float kRounder = 12582912.0F;  // 1.5 * 2^23: adding it rounds to an integer
  std::uint32_t most_bits = 0;  // of magnitudes, which order as their bits do, NaN above all
  for (std::size_t i = 0; i < inputs; ++i) {
    const std::uint32_t magnitude = __builtin_bit_cast(std::uint32_t, x[i]) & 0x7fffffffU;
    most_bits = magnitude > most_bits ? magnitude : most_bits;
  }
  if (most_bits >= 0x7f800000U) {
    for (std::size_t i = 0; i < inputs; ++i) codes[i] = 0;
    return *scale = FloatOf(0x7fc00000U);
  }
  const float most = FloatOf(most_bits);
  // Where the inverse would overflow, the inputs count for nothing.
  const bool counts = most > 0x1p-100F;
  const float inverse = counts ? 127.0F / most : 0;
  std::int32_t sum = 0;
  for (std::size_t i = 0; i < inputs; ++i) {
    const float rounded = (x[i] * inverse + kRounder) - kRounder;
    const auto code = static_cast<std::int32_t>(rounded);
    codes[i] = static_cast<std::int8_t>(code);
    sum += code;
  }
  *scale = counts ? most / 127.0F : 0;
  return *scale * static_cast<float>(sum);
}

void Quantize(const float* x, std::size_t groups, const Int8Blocks& blocks, std::int8_t* codes,
              float* scales, float* sums) {
  for (std::size_t g = 0; g < groups; ++g) {
    sums[g] = 0;
    for (std::size_t i = 0; i < blocks.group_inputs; i += blocks.block_inputs) {
      sums[g] += QuantizeBlock(x, blocks.block_inputs, codes, scales++);
      x += blocks.block_inputs;
      codes += blocks.block_inputs;
    }
  }
}

}  // namespace

extern const Int8Loops kInt8Loops = {.multiply = Multiply, .quantize = Quantize};

}  // namespace awq::kernels::AWQ_ISA
