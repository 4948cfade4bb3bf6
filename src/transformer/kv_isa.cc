// Compiled once per instruction set: no header with inline code may be included here, but for the
// compiler's own intrinsics.
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "transformer/kv_loops.h"

namespace awq::transformer::AWQ_ISA {
namespace {

#if defined(__AVX512BW__)
constexpr std::size_t kWidth = 16;
#elif defined(__AVX2__)
constexpr std::size_t kWidth = 8;
#else
constexpr std::size_t kWidth = 4;
#endif
using Floats [[gnu::vector_size(kWidth * sizeof(float))]] = float;
using Words [[gnu::vector_size(kWidth * sizeof(std::uint32_t))]] = std::uint32_t;
using Shorts [[gnu::vector_size(kWidth * sizeof(std::uint16_t))]] = std::uint16_t;
using Four [[gnu::vector_size(16)]] = float;

// What 16 bits are.
struct Half {
  std::uint16_t bits;
};
struct Brain {
  std::uint16_t bits;
};

// Sums of products are kept in 16 lanes, whatever a register holds.
constexpr std::size_t kLanes = 16;
constexpr std::size_t kParts = kLanes / kWidth;
// As many heads as their sums stay in registers.
constexpr std::size_t kScoreHeads = kWidth / 2;
constexpr std::size_t kMixHeads = 4;
constexpr std::size_t kMixVectors = kWidth == 16 ? 4 : 2;
// All heads go through so many tokens before the next: their rows stay in the nearest cache.
constexpr std::size_t kTokens = 64;

template <class Vector, class From>
Vector LoadAs(const From* from) {
  Vector vector;
  __builtin_memcpy(&vector, from, sizeof(vector));
  return vector;
}

Floats Load(const float* from) { return LoadAs<Floats>(from); }

Floats Load(const Brain* from) {
#if defined(__AVX512BW__)
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(LoadAs<__m256i>(from)), 16));
#elif defined(__AVX2__)
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(LoadAs<__m128i>(from)), 16));
#else
  return reinterpret_cast<Floats>(__builtin_convertvector(LoadAs<Shorts>(from), Words) << 16);
#endif
}

Floats Load(const Half* halves) {
#if defined(__AVX512BW__)
  return _mm512_cvtph_ps(LoadAs<__m256i>(halves));
#elif defined(__AVX2__)
  return _mm256_cvtph_ps(LoadAs<__m128i>(halves));
#else
  const Words bits = __builtin_convertvector(LoadAs<Shorts>(halves), Words);
  const Words magnitude = bits & 0x7fffU;
  const Floats finite = reinterpret_cast<Floats>(magnitude << 13) * 0x1p112F;
  const Words special = 0x7f800000U | magnitude << 13;
  const auto is_special = reinterpret_cast<Words>(magnitude >= 0x7c00U);
  return reinterpret_cast<Floats>((bits & 0x8000U) << 16 | (is_special & special) |
                                  (~is_special & reinterpret_cast<Words>(finite)));
#endif
}

Floats Load(const std::int8_t* codes) {
#if defined(__AVX512BW__)
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(LoadAs<__m128i>(codes)));
#elif defined(__AVX2__)
  return _mm256_cvtepi32_ps(
      _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes))));
#else
  return Floats{static_cast<float>(codes[0]), static_cast<float>(codes[1]),
                static_cast<float>(codes[2]), static_cast<float>(codes[3])};
#endif
}

// Zeros after the first n, at most kWidth.
template <class Element>
Floats LoadSome(const Element* from, std::size_t n) {
  if (n >= kWidth) return Load(from);
  Element some[kWidth] = {};
  __builtin_memcpy(some, from, n * sizeof(Element));
  return Load(some);
}

void StoreSome(Floats values, std::size_t n, float* to) {
  if (n >= kWidth) {
    __builtin_memcpy(to, &values, sizeof(values));
  } else {
    __builtin_memcpy(to, &values, n * sizeof(float));
  }
}

// Pairwise over 16 lanes: the same order whatever the register width.
float SumLanes(const Floats (&parts)[kParts]) {
  float lanes[kLanes];
  __builtin_memcpy(lanes, parts, sizeof(lanes));
  const Four eight[2] = {LoadAs<Four>(lanes) + LoadAs<Four>(lanes + 8),
                         LoadAs<Four>(lanes + 4) + LoadAs<Four>(lanes + 12)};
  const Four four = eight[0] + eight[1];
  return (four[0] + four[2]) + (four[1] + four[3]);
}

#if defined(__AVX512BW__)
// SumLanes of eight at once, in the same order: halves of two, quarters of four and so on lie
// beside one another.
using Eight [[gnu::vector_size(32)]] = float;
#define AWQ_PICK(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)

Floats AddHalves(Floats a, Floats b) {
  return AWQ_PICK(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
         AWQ_PICK(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
}
Floats AddQuarters(Floats a, Floats b) {
  return AWQ_PICK(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27) +
         AWQ_PICK(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
}
Eight SumLanes(const Floats (&x)[8][1]) {
  const Floats low = AddQuarters(AddHalves(x[0][0], x[1][0]), AddHalves(x[2][0], x[3][0]));
  const Floats high = AddQuarters(AddHalves(x[4][0], x[5][0]), AddHalves(x[6][0], x[7][0]));
  const Floats pairs =
      AWQ_PICK(low, high, 0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21, 24, 25, 28, 29) +
      AWQ_PICK(low, high, 2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22, 23, 26, 27, 30, 31);
  return AWQ_PICK(pairs, pairs, 0, 2, 4, 6, 8, 10, 12, 14) +
         AWQ_PICK(pairs, pairs, 1, 3, 5, 7, 9, 11, 13, 15);
}
#undef AWQ_PICK
#endif

template <std::size_t n>
struct Count {
  static constexpr std::size_t kValue = n;
};

// body(Count<n>(), first) for tiles of kMost, then of half as many, down to one.
template <std::size_t kMost, class Body>
void ForTiles(std::size_t size, std::size_t first, Body body) {
  for (; first + kMost <= size; first += kMost) body(Count<kMost>(), first);
  if constexpr (kMost > 1) ForTiles<kMost / 2>(size, first, body);
}

// body(elements of the rows, of their type)
template <class Body>
void WithElements(const KvRows& rows, Body body) {
  switch (rows.element) {
    case KvElement::kF32:
      return body(static_cast<const float*>(rows.elements));
    case KvElement::kBF16:
      return body(static_cast<const Brain*>(rows.elements));
    case KvElement::kF16:
      return body(static_cast<const Half*>(rows.elements));
    case KvElement::kInt8:
      return body(static_cast<const std::int8_t*>(rows.elements));
  }
}

// body(first, count) for blocks of tokens.
template <class Body>
void ForBlocks(std::size_t tokens, Body body) {
  for (std::size_t first = 0; first < tokens; first += kTokens) {
    body(first, tokens - first < kTokens ? tokens - first : kTokens);
  }
}

template <std::size_t kHeads, class Element>
void ScoreOne(const Element* key, const float* queries, std::size_t head_dim, float scale,
              float* scores, std::size_t stride) {
  Floats sums[kHeads][kParts] = {};
  std::size_t i = 0;
  for (; i + kLanes <= head_dim; i += kLanes) {
    for (std::size_t part = 0; part < kParts; ++part) {
      const std::size_t place = i + part * kWidth;
      const Floats x = Load(key + place);
      for (std::size_t h = 0; h < kHeads; ++h) {
        sums[h][part] += x * Load(queries + h * head_dim + place);
      }
    }
  }
  for (std::size_t part = 0; i < head_dim; ++part, i += kWidth) {
    const Floats x = LoadSome(key + i, head_dim - i);
    for (std::size_t h = 0; h < kHeads; ++h) {
      sums[h][part] += x * LoadSome(queries + h * head_dim + i, head_dim - i);
    }
  }
#if defined(__AVX512BW__)
  if constexpr (kHeads == 8) {
    const Eight all = SumLanes(sums) * scale;
    for (std::size_t h = 0; h < kHeads; ++h) scores[h * stride] = all[h];
    return;
  }
#endif
  for (std::size_t h = 0; h < kHeads; ++h) scores[h * stride] = SumLanes(sums[h]) * scale;
}

void Score(const KvRows& keys, std::size_t tokens, const float* queries, std::size_t heads,
           float* scores, std::size_t stride) {
  const std::size_t head_dim = keys.head_dim;
  WithElements(keys, [&](const auto* elements) {
    ForBlocks(tokens, [&](std::size_t first, std::size_t count) {
      ForTiles<kScoreHeads>(heads, 0, [&](auto tile, std::size_t h) {
        for (std::size_t t = first; t < first + count; ++t) {
          const float scale = keys.scales == nullptr ? 1.0F : keys.scales[t];
          ScoreOne<decltype(tile)::kValue>(elements + t * head_dim, queries + h * head_dim,
                                           head_dim, scale, scores + h * stride + t, stride);
        }
      });
    });
  });
}

// A block of tokens for one head after another.
struct Mixture {
  const float* weights;  // [heads, tokens]
  std::size_t stride;
  const float* scales;  // [tokens], or null
  std::size_t tokens;
  std::size_t head_dim;
  float* out;  // [heads, head_dim], added to
};

// Columns [0, n) of the values, n at most those of kVectors.
template <std::size_t kHeads, std::size_t kVectors, class Element>
void MixColumns(const Mixture& m, const Element* values, std::size_t n, float* out) {
  Floats sums[kHeads][kVectors] = {};
  for (std::size_t t = 0; t < m.tokens; ++t, values += m.head_dim) {
    Floats x[kVectors];
    for (std::size_t v = 0; v < kVectors; ++v) {
      x[v] = kVectors == 1 ? LoadSome(values, n) : Load(values + v * kWidth);
    }
    const float scale = m.scales == nullptr ? 1.0F : m.scales[t];
    for (std::size_t h = 0; h < kHeads; ++h) {
      const float weight = m.weights[h * m.stride + t] * scale;
      for (std::size_t v = 0; v < kVectors; ++v) sums[h][v] += x[v] * weight;
    }
  }
  for (std::size_t h = 0; h < kHeads; ++h) {
    float* to = out + h * m.head_dim;
    for (std::size_t v = 0; v < kVectors; ++v, to += kWidth) {
      const std::size_t some = kVectors == 1 ? n : kWidth;
      StoreSome(LoadSome(to, some) + sums[h][v], some, to);
    }
  }
}

template <std::size_t kHeads, class Element>
void MixBlock(const Mixture& m, const Element* values) {
  std::size_t i = 0;
  for (; i + kMixVectors * kWidth <= m.head_dim; i += kMixVectors * kWidth) {
    MixColumns<kHeads, kMixVectors>(m, values + i, kMixVectors * kWidth, m.out + i);
  }
  for (; i < m.head_dim; i += kWidth) {
    MixColumns<kHeads, 1>(m, values + i, m.head_dim - i, m.out + i);
  }
}

void Mix(const KvRows& values, std::size_t tokens, const float* weights, std::size_t stride,
         std::size_t heads, float* out) {
  const std::size_t head_dim = values.head_dim;
  WithElements(values, [&](const auto* elements) {
    ForBlocks(tokens, [&](std::size_t first, std::size_t count) {
      const float* scales = values.scales == nullptr ? nullptr : values.scales + first;
      ForTiles<kMixHeads>(heads, 0, [&](auto tile, std::size_t h) {
        const Mixture m{
            weights + h * stride + first, stride, scales, count, head_dim, out + h * head_dim};
        MixBlock<decltype(tile)::kValue>(m, elements + first * head_dim);
      });
    });
  });
}

// to(i, values) for the elements of all rows, as many as a register holds from i on.
template <class To>
void ForElements(const KvRows& rows, std::size_t tokens, To to) {
  const std::size_t n = tokens * rows.head_dim;
  WithElements(rows, [&](const auto* elements) {
    for (std::size_t i = 0; i < n; i += kWidth) to(i, n - i, LoadSome(elements + i, n - i));
  });
}

void Read(const KvRows& rows, std::size_t tokens, float* to) {
  ForElements(rows, tokens,
              [&](std::size_t i, std::size_t n, Floats x) { StoreSome(x, n, to + i); });
}

// A NaN among cached rows has its highest bits set only, so that rounding leaves it one.
void ReadBF16(const KvRows& rows, std::size_t tokens, std::uint16_t* to) {
  ForElements(rows, tokens, [&](std::size_t i, std::size_t n, Floats x) {
    const auto bits = reinterpret_cast<Words>(x);
    const Words rounded = (bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16;
    const Shorts shorts = __builtin_convertvector(rounded, Shorts);
    __builtin_memcpy(to + i, &shorts, (n < kWidth ? n : kWidth) * sizeof(std::uint16_t));
  });
}

std::uint32_t ToBits(float value) { return __builtin_bit_cast(std::uint32_t, value); }

float RoundToInt8(const float* x, std::size_t n, std::int8_t* codes) {
  constexpr float kShift = 0x1.8p23F;  // adding it rounds to an integer
  std::uint32_t most = 0;              // magnitudes are in the order of their bits
  for (std::size_t i = 0; i < n; ++i) {
    const std::uint32_t magnitude = ToBits(x[i]) & 0x7fffffffU;
    most = magnitude > most ? magnitude : most;
  }
  const float max = __builtin_bit_cast(float, most);
  const bool is_finite = most < 0x7f800000U;
  if (!is_finite || max < 1e-35F) {
    for (std::size_t i = 0; i < n; ++i) codes[i] = 0;
    return is_finite ? 0.0F : __builtin_bit_cast(float, 0x7fc00000U);
  }
  const float per_unit = 127.0F / max;
  for (std::size_t i = 0; i < n; ++i) {
    codes[i] = static_cast<std::int8_t>(ToBits(x[i] * per_unit + kShift) - ToBits(kShift));
  }
  return max / 127.0F;
}

}  // namespace

extern const KvLoops kKvLoops = {
    .round_to_int8 = RoundToInt8, .read = Read, .read_bf16 = ReadBF16, .score = Score, .mix = Mix};

}  // namespace awq::transformer::AWQ_ISA
