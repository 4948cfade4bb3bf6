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
// adds their products with a token's inputs to two sums, of which Sum makes the rows' own. kLess
// has been taken off each code.
template <std::int32_t less>
struct CodesLess {
  static constexpr std::int32_t kLess = less;
  static Integers Sum(const Integers* sums) { return sums[0] + sums[1]; }
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
struct Codes : CodesLess<0> {
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
  void Add(const std::int8_t* x, Integers* sums) const {
    sums[0] = reinterpret_cast<Integers>(
        _mm512_dpbusd_epi32(reinterpret_cast<Bytes>(sums[0]), first, Four(x)));
    sums[1] = reinterpret_cast<Integers>(
        _mm512_dpbusd_epi32(reinterpret_cast<Bytes>(sums[1]), second, Four(x + 4)));
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
struct Codes : CodesLess<0> {
  Codes(const std::uint8_t* run, std::size_t part) {
    if constexpr (kBits == 3) {
      first = FourOfThreeBits(run, 2 * part);
      second = FourOfThreeBits(run, 2 * part + 1);
    } else {
      first = kBits == 4 ? Low(Load<Bytes>(run)) : Load<Bytes>(run);
      second = kBits == 4 ? High(Load<Bytes>(run)) : Load<Bytes>(run + 4 * kPanelRows);
    }
  }
  void Add(const std::int8_t* x, Integers* sums) const {
    if constexpr (kBits < 8) {
      sums[0] += Products(first, second, Four(x), Four(x + 4), 1);
    } else {
      sums[0] += Products(Low(first), Low(second), Four(x), Four(x + 4), 1);
      sums[1] += Products(High(first), High(second), Four(x), Four(x + 4), 16);
    }
  }
  Bytes first;
  Bytes second;
};

#endif
#elif defined(AWQ_NEON)

// These sets multiply signed bytes.
template <std::size_t kBits>
struct Codes : CodesLess<kBits == 8 ? 128 : 0> {
  Codes(const std::uint8_t* from, std::size_t part) {
    const uint8x16_t bytes = vld1q_u8(from + (kBits == 3 ? part / 2 * 4 * kPanelRows : 0));
    if constexpr (kBits == 3) {
      const uint8x16_t high = vld1q_u8(from + 8 * kPanelRows);
      const auto four = [&](std::size_t k) {
        const auto low_shift = static_cast<std::int8_t>(2 * (k % 4));
        const auto high_shift = static_cast<std::int8_t>(k);
        const uint8x16_t low = vshlq_u8(bytes, vdupq_n_s8(static_cast<std::int8_t>(-low_shift)));
        const uint8x16_t bit = vshlq_u8(high, vdupq_n_s8(static_cast<std::int8_t>(2 - high_shift)));
        return vreinterpretq_s8_u8(
            vorrq_u8(vandq_u8(low, vdupq_n_u8(3)), vandq_u8(bit, vdupq_n_u8(4))));
      };
      first = four(2 * part);
      second = four(2 * part + 1);
    } else if constexpr (kBits == 4) {
      first = vreinterpretq_s8_u8(vandq_u8(bytes, vdupq_n_u8(0x0f)));
      second = vreinterpretq_s8_u8(vshrq_n_u8(bytes, 4));
    } else {
      const uint8x16_t less = vdupq_n_u8(Codes::kLess);
      first = vreinterpretq_s8_u8(vsubq_u8(bytes, less));
      second = vreinterpretq_s8_u8(vsubq_u8(vld1q_u8(from + 4 * kPanelRows), less));
    }
  }
#if defined(__ARM_FEATURE_DOTPROD)
  void Add(const std::int8_t* x, Integers* sums) const {
    const int8x8_t eight = vld1_s8(x);
    sums[0] = vdotq_lane_s32(sums[0], first, eight, 0);
    sums[1] = vdotq_lane_s32(sums[1], second, eight, 1);
  }
#else
  // Two products of at most 128 and 127 are added in 16 bits. The first two rows' go to one sum,
  // the others' to the second, two lanes a row.
  void Add(const std::int8_t* x, Integers* sums) const {
    const int8x8_t four = vreinterpret_s8_s32(vdup_n_s32(Load<std::int32_t>(x)));
    const int8x8_t next = vreinterpret_s8_s32(vdup_n_s32(Load<std::int32_t>(x + 4)));
    const int16x8_t low = vmull_s8(vget_low_s8(first), four);
    const int16x8_t high = vmull_s8(vget_high_s8(first), four);
    sums[0] = vpadalq_s16(sums[0], vmlal_s8(low, vget_low_s8(second), next));
    sums[1] = vpadalq_s16(sums[1], vmlal_s8(high, vget_high_s8(second), next));
  }
  static Integers Sum(const Integers* sums) { return vpaddq_s32(sums[0], sums[1]); }
#endif
  int8x16_t first;
  int8x16_t second;
};

#else

template <std::size_t kBits>
struct Codes : CodesLess<0> {
  Codes(const std::uint8_t* run, std::size_t part) {
    for (std::size_t n = 0; n < 8; ++n) {
      of[n] = reinterpret_cast<Integers>(CodesOf<kBits>(run, 8 * part + n));
    }
  }
  void Add(const std::int8_t* x, Integers* sums) const {
    for (std::size_t n = 0; n < 8; ++n) sums[n % 2] += of[n] * x[n];
  }
  Integers of[8];
};

#endif

// kLanes rows of the panel.
template <std::size_t kTokens, std::size_t kBits>
void MultiplyRows(const Int8Panel& p, std::size_t first_token, std::size_t first_row) {
  const PanelWeights& w = p.weights;
  const std::size_t in = w.groups * w.group_inputs;
  const std::size_t blocks = in / p.block_inputs;
  const std::size_t blocks_per_group = w.group_inputs / p.block_inputs;
  const std::int8_t* x = p.x + first_token * in;
  const std::uint8_t* codes = w.codes + first_row * 4;
  Floats y[kTokens] = {};
  std::size_t b = 0;
  for (std::size_t g = 0; g < w.groups; ++g) {
    const Floats scale = ReadScales(w, g, first_row);
    const Integers zero = ReadZeros(w, g, first_row) - Codes<kBits>::kLess;
    for (const std::size_t end = b + blocks_per_group; b < end; ++b, x += p.block_inputs) {
      Integers sums[kTokens][2] = {};
      for (std::size_t i = 0; i < p.block_inputs; i += RunOf(kBits)) {
        ForParts<kBits>([&](auto which) __attribute__((always_inline)) {
          constexpr std::size_t part = decltype(which)::kValue;
          __builtin_prefetch(codes + part * kBits * kPanelRows + kAheadBytes);
          const Codes<kBits> eight(codes, part);
#pragma GCC unroll 8
          for (std::size_t t = 0; t < kTokens; ++t) eight.Add(x + t * in + i + 8 * part, sums[t]);
        });
        codes += RunOf(kBits) * kBits / 8 * kPanelRows;
      }
      for (std::size_t t = 0; t < kTokens; ++t) {
        const std::size_t at = (first_token + t) * blocks + b;
        const Integers all = Codes<kBits>::Sum(sums[t]) - zero * p.x_sums[at];
        y[t] += __builtin_convertvector(all, Floats) * (scale * p.x_scales[at]);
      }
    }
  }
  for (std::size_t t = 0; t < kTokens; ++t) Store(y[t], p.outputs, first_token + t, first_row);
}

void Multiply(const Int8Panel& p) {
  ForTilesOf<kTile>(p, [&]<class Tile, class Bits>(Tile, Bits, std::size_t first) {
    for (std::size_t r = 0; r < kPanelRows; r += kLanes) {
      MultiplyRows<Tile::kValue, Bits::kValue>(p, first, r);
    }
  });
}

float FloatOf(std::uint32_t bits) { return __builtin_bit_cast(float, bits); }

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
      scales[b] = FloatOf(0x7fc00000U);
      sums[b] = 0;
      continue;
    }
    const float most = FloatOf(most_bits);
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

extern const Int8Loops kInt8Loops = {.multiply = Multiply, .quantize = Quantize};

}  // namespace awq::kernels::AWQ_ISA
