// Compiled once per instruction set: no header with inline code may be included here, but for the
// compiler's own intrinsics.
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "transformer/narrow_loops.h"

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
using Four [[gnu::vector_size(16)]] = float;

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

Floats Load(const std::uint16_t* halves) {
#if defined(__AVX512BW__)
  return _mm512_cvtph_ps(LoadAs<__m256i>(halves));
#elif defined(__AVX2__)
  return _mm256_cvtph_ps(LoadAs<__m128i>(halves));
#else
  using Words [[gnu::vector_size(kWidth * sizeof(std::uint32_t))]] = std::uint32_t;
  const Words bits = {halves[0], halves[1], halves[2], halves[3]};
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
void WithElements(const NarrowRows& rows, Body body) {
  if (rows.scales == nullptr) {
    body(static_cast<const std::uint16_t*>(rows.elements));
  } else {
    body(static_cast<const std::int8_t*>(rows.elements));
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
  for (std::size_t h = 0; h < kHeads; ++h) scores[h * stride] = SumLanes(sums[h]) * scale;
}

void Score(const NarrowRows& keys, std::size_t tokens, const float* queries, std::size_t heads,
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

void Mix(const NarrowRows& values, std::size_t tokens, const float* weights, std::size_t stride,
         std::size_t heads, float* out) {
  const std::size_t head_dim = values.head_dim;
  for (std::size_t i = 0; i < heads * head_dim; ++i) out[i] = 0;
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

void Read(const NarrowRows& rows, std::size_t tokens, float* to) {
  const std::size_t head_dim = rows.head_dim;
  WithElements(rows, [&](const auto* elements) {
    for (std::size_t t = 0; t < tokens; ++t) {
      const float scale = rows.scales == nullptr ? 1.0F : rows.scales[t];
      for (std::size_t i = 0; i < head_dim; i += kWidth) {
        const std::size_t place = t * head_dim + i;
        StoreSome(LoadSome(elements + place, head_dim - i) * scale, head_dim - i, to + place);
      }
    }
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

extern const NarrowLoops kNarrowLoops = {
    .round_to_int8 = RoundToInt8, .read = Read, .score = Score, .mix = Mix};

}  // namespace awq::transformer::AWQ_ISA
