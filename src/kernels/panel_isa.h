// For files that are compiled once per instruction set, and for no others: what stands here has
// internal linkage in each.
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(AWQ_NEON)
#include <arm_neon.h>
#endif

#include "kernels/panel_loops.h"

namespace awq::kernels::AWQ_ISA {
namespace {

// As many rows as a register has lanes, and as many tokens as their sums stay in registers.
#if defined(__AVX512BW__)
constexpr std::size_t kLanes = 16;
constexpr std::size_t kTile = kMostTokens;
#elif defined(__AVX2__)
constexpr std::size_t kLanes = 8;
constexpr std::size_t kTile = 4;
#elif defined(AWQ_NEON)
constexpr std::size_t kLanes = 4;
constexpr std::size_t kTile = kMostTokens;
#else
constexpr std::size_t kLanes = 4;
constexpr std::size_t kTile = 4;
#endif
// Codes are fetched so far ahead of their use, across the ends of pages and panels, where the CPU's
// own prefetching begins anew. Prefetching what is not there does nothing.
constexpr std::size_t kAheadBytes = 2048;
using Floats [[gnu::vector_size(kLanes * sizeof(float))]] = float;
using Words [[gnu::vector_size(kLanes * sizeof(std::uint32_t))]] = std::uint32_t;
using Integers [[gnu::vector_size(kLanes * sizeof(std::int32_t))]] = std::int32_t;

template <class Vector>
Vector Load(const void* from) {
  Vector vector;
  __builtin_memcpy(&vector, from, sizeof(vector));
  return vector;
}

// Codes are laid out in runs of so many inputs.
constexpr std::size_t RunOf(std::size_t bits) { return bits == 3 ? 32 : 8; }

// The codes of input n of a run, for kLanes rows.
template <std::size_t kBits>
Words CodesOf(const std::uint8_t* run, std::size_t n) {
  constexpr std::size_t kStep = 4 * kPanelRows;
  const auto word = [&](std::size_t which, std::size_t shift) {
    return Load<Words>(run + which * kStep) >> static_cast<std::uint32_t>(shift);
  };
  const std::size_t byte = 8 * (n % 4);
  const std::size_t four = n / 4;
  if constexpr (kBits == 3) {
    return (word(four / 4, byte + 2 * (four % 4)) & 3U) | (word(2, byte + four) & 1U) << 2;
  } else if constexpr (kBits == 4) {
    return word(0, byte + 4 * four) & 0xfU;
  } else {
    return word(four, byte) & 0xffU;
  }
}

// The scales of a group, as floats, and its zero points: kLanes rows of them. (GCC 12 widens
// vectors of narrow integers one element at a time.)
Floats ReadScales(const PanelWeights& w, std::size_t group, std::size_t first_row) {
  const std::uint16_t* from = w.scales + group * kPanelRows + first_row;
#if defined(__AVX512BW__)
  const auto bits = Load<__m256i>(from);
  if (!w.scales_are_bf16) return _mm512_cvtph_ps(bits);
  return reinterpret_cast<Floats>(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
#elif defined(__AVX2__)
  const auto bits = Load<__m128i>(from);
  if (!w.scales_are_bf16) return _mm256_cvtph_ps(bits);
  return reinterpret_cast<Floats>(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
#elif defined(AWQ_NEON)
  const uint16x4_t bits = vld1_u16(from);
  if (!w.scales_are_bf16) return vcvt_f32_f16(vreinterpret_f16_u16(bits));
  return vreinterpretq_f32_u32(vshll_n_u16(bits, 16));
#else
  using Halves [[gnu::vector_size(kLanes * sizeof(std::uint16_t))]] = std::uint16_t;
  const Words words = __builtin_convertvector(Load<Halves>(from), Words);
  if (w.scales_are_bf16) return reinterpret_cast<Floats>(words << 16);
  // Finite ones only: what is loaded has been checked.
  const Floats magnitude = reinterpret_cast<Floats>((words & 0x7fffU) << 13) * 0x1p112F;
  return reinterpret_cast<Floats>((words & 0x8000U) << 16 | reinterpret_cast<Words>(magnitude));
#endif
}

template <std::size_t kBits>
constexpr std::size_t kZeroBytes = kBits == 8 ? kPanelRows : kPanelRows / 2;  // of a group

template <std::size_t kBits>
Integers ReadZeros(const PanelWeights& w, std::size_t group, std::size_t first_row) {
  constexpr bool kInHalves = kBits != 8;
  const std::uint8_t* from = w.zeros + group * kZeroBytes<kBits> + first_row % kZeroBytes<kBits>;
  [[maybe_unused]] const bool is_high = first_row >= kZeroBytes<kBits>;
#if defined(__AVX512BW__)
  if constexpr (!kInHalves) {
    return reinterpret_cast<Integers>(_mm512_cvtepu8_epi32(Load<__m128i>(from)));
  }
  const __m128i both = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from));
  const __m128i bytes = _mm_unpacklo_epi64(both, _mm_srli_epi16(both, 4));
  return reinterpret_cast<Integers>(
      _mm512_cvtepu8_epi32(_mm_and_si128(bytes, _mm_set1_epi8(0x0f))));
#elif defined(__AVX2__)
  __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from));
  if (is_high) bytes = _mm_srli_epi16(bytes, 4);
  if constexpr (kInHalves) bytes = _mm_and_si128(bytes, _mm_set1_epi8(0x0f));
  return reinterpret_cast<Integers>(_mm256_cvtepu8_epi32(bytes));
#elif defined(AWQ_NEON)
  uint8x8_t bytes = vreinterpret_u8_u32(vdup_n_u32(Load<std::uint32_t>(from)));
  if (is_high) bytes = vshr_n_u8(bytes, 4);
  if constexpr (kInHalves) bytes = vand_u8(bytes, vdup_n_u8(0x0f));
  return vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(vmovl_u8(bytes))));
#else
  using Octets [[gnu::vector_size(kLanes)]] = std::uint8_t;
  auto bytes = Load<Octets>(from);
  if (is_high) bytes >>= 4;
  if constexpr (kInHalves) bytes &= 0x0f;
  return __builtin_convertvector(bytes, Integers);
#endif
}

void Store(Floats y, const PanelOutputs& outputs, std::size_t token, std::size_t first_row) {
  __builtin_memcpy(outputs.y + token * outputs.stride + first_row, &y, sizeof(y));
}

template <std::size_t n>
struct Count {
  static constexpr std::size_t kValue = n;
};

// body(Count<part>()) for each eight inputs of a run.
template <std::size_t kBits, class Body>
[[gnu::always_inline]] inline void ForParts(const Body& body) {
  body(Count<0>());
  if constexpr (RunOf(kBits) == 32) {
    body(Count<1>());
    body(Count<2>());
    body(Count<3>());
  }
}

// body(Count<n>(), first) for tiles of kTokens, then of half as many, down to one.
template <std::size_t kTokens, class Body>
void ForTiles(std::size_t tokens, std::size_t first, Body body) {
  for (; first + kTokens <= tokens; first += kTokens) body(Count<kTokens>(), first);
  if constexpr (kTokens > 1) ForTiles<kTokens / 2>(tokens, first, body);
}

// The same for a panel's tokens: body(tile, bits, first), with the bits that codes are stored in.
template <std::size_t kTokens, class Panel, class Body>
void ForTilesOf(const Panel& panel, Body body) {
  const std::size_t bits = panel.weights.bits;
  ForTiles<kTokens>(panel.outputs.tokens, 0, [&](auto tile, std::size_t first) {
    if (bits == 4) return body(tile, Count<4>(), first);
    return bits == 3 ? body(tile, Count<3>(), first) : body(tile, Count<8>(), first);
  });
}

}  // namespace
}  // namespace awq::kernels::AWQ_ISA
