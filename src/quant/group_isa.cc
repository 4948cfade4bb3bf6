// Elementwise arithmetic and minima only, all in true float32 without contraction, so that the
// vector width cannot show in a result.
#include <cstddef>
#include <cstdint>

#include "quant/group_loops.h"

namespace awq::quant::AWQ_ISA {
namespace {

#if defined(__AVX512F__)
constexpr std::size_t kVectorBytes = 64;
#elif defined(__AVX__)
constexpr std::size_t kVectorBytes = 32;
#else
constexpr std::size_t kVectorBytes = 16;
#endif
constexpr std::size_t kLanes = kVectorBytes / sizeof(float);

typedef float Floats __attribute__((vector_size(kVectorBytes)));
typedef std::uint32_t Words __attribute__((vector_size(kVectorBytes)));
typedef std::uint16_t Halves __attribute__((vector_size(kVectorBytes / 2)));
typedef std::uint8_t Bytes __attribute__((vector_size(kVectorBytes / 4)));

// Adding and subtracting it leaves no fraction bits: rounds to even while |x| < 2^22.
constexpr float kRoundToInteger = 0x1.8p23F;
constexpr float kSmallestNormalHalf = 0x1p-14F;
constexpr float kSmallestHalf = 0x1p-24F;
// The published quantizer's floor on hi - lo.
constexpr float kSmallestRange = 1e-5F;

inline Floats Splat(float x) { return x - Floats{}; }
inline Floats Min(Floats a, Floats b) { return a < b ? a : b; }
inline Floats Max(Floats a, Floats b) { return a > b ? a : b; }
inline Floats Clamp(Floats x, Floats lo, Floats hi) { return Min(Max(x, lo), hi); }
inline Floats RoundToInteger(Floats x) { return (x + kRoundToInteger) - kRoundToInteger; }

// A positive scale to the nearest positive half; infinity where fp16 has no such number.
inline float RoundScaleToHalf(float x) {
  if (x < kSmallestNormalHalf) {
    // One unit in the last place of 0.75 is the spacing of subnormal halves.
    const float rounded = (x + 0.75F) - 0.75F;
    return rounded > kSmallestHalf ? rounded : kSmallestHalf;
  }
  if (x >= 65520.0F) return __builtin_inff();
  std::uint32_t bits = 0;
  __builtin_memcpy(&bits, &x, sizeof(bits));
  bits += 0xfffU + ((bits >> 13) & 1U);
  bits &= ~0x1fffU;
  __builtin_memcpy(&x, &bits, sizeof(bits));
  return x;
}

// Calls body(w, s, first, count) for each vector of a group; the last is padded with w = 0, which
// every range contains, and s = 1.
template <bool kScaled, class Body>
inline void ForEachVector(const float* w, const float* s, std::size_t n, Body body) {
  std::size_t i = 0;
  Floats scale = Splat(1);
  Floats values;
  for (; i + kLanes <= n; i += kLanes) {
    __builtin_memcpy(&values, w + i, sizeof(values));
    if constexpr (kScaled) __builtin_memcpy(&scale, s + i, sizeof(scale));
    body(values, scale, i, kLanes);
  }
  if (i == n) return;
  values = Floats{};
  scale = Splat(1);
  __builtin_memcpy(&values, w + i, (n - i) * sizeof(float));
  if constexpr (kScaled) __builtin_memcpy(&scale, s + i, (n - i) * sizeof(float));
  body(values, scale, i, n - i);
}

template <class Vector, class T>
inline void Store(const Vector& values, T* out, std::size_t count) {
  if (count == kLanes) {
    __builtin_memcpy(out, &values, kLanes * sizeof(T));
  } else {
    __builtin_memcpy(out, &values, count * sizeof(T));
  }
}

inline void StoreResidual(Floats d, float* out, std::size_t count) { Store(d, out, count); }

inline void StoreResidual(Floats d, std::uint16_t* out, std::size_t count) {
  Words bits;
  __builtin_memcpy(&bits, &d, sizeof(bits));
  bits += 0x7fffU + ((bits >> 16) & 1U);  // to bf16, ties to even
  Store(__builtin_convertvector(bits >> 16, Halves), out, count);
}

template <bool kScaled>
inline void RangeOf(const float* w, const float* s, std::size_t n, float* lo, float* hi) {
  Floats least{};
  Floats most{};
  ForEachVector<kScaled>(w, s, n, [&](Floats v, Floats scale, std::size_t, std::size_t) {
    if constexpr (kScaled) v *= scale;
    least = Min(v, least);
    most = Max(v, most);
  });
  float lows[kLanes];
  float highs[kLanes];
  __builtin_memcpy(lows, &least, sizeof(least));
  __builtin_memcpy(highs, &most, sizeof(most));
  for (std::size_t half = kLanes / 2; half > 0; half /= 2) {
    for (std::size_t i = 0; i < half; ++i) {
      lows[i] = lows[i + half] < lows[i] ? lows[i + half] : lows[i];
      highs[i] = highs[i + half] > highs[i] ? highs[i + half] : highs[i];
    }
  }
  *lo = lows[0];
  *hi = highs[0];
}

void Range(const float* w, std::size_t n, float* lo, float* hi) {
  RangeOf<false>(w, nullptr, n, lo, hi);
}

void Map(const CodeRange& codes, float lo, float hi, GroupMap* out) {
  if (codes.symmetric) {
    float largest = -lo > hi ? -lo : hi;
    largest = largest > kSmallestRange ? largest : kSmallestRange;
    out->scale = RoundScaleToHalf(largest / (codes.mid_code - 1));
    out->zero = codes.mid_code;
    return;
  }
  const float range = hi - lo > kSmallestRange ? hi - lo : kSmallestRange;
  out->scale = RoundScaleToHalf(range / codes.max_code);
  const float zero = ((-lo / out->scale) + kRoundToInteger) - kRoundToInteger;
  out->zero = zero < codes.max_code ? zero : codes.max_code;
}

// The code of each weight, still a float.
inline Floats CodesOf(const CodeRange& codes, const GroupMap& map, Floats w) {
  const Floats bound = Splat(map.bound);
  const Floats clipped = Clamp(w, -bound, bound);
  const Floats code = RoundToInteger(clipped / map.scale) + map.zero;
  return Clamp(code, Floats{}, Splat(codes.max_code));
}

void Quantize(const CodeRange& codes, const GroupMap& map, const float* w, std::size_t n,
              std::uint8_t* out) {
  ForEachVector<false>(w, nullptr, n, [&](Floats v, Floats, std::size_t i, std::size_t count) {
    const Floats shifted = CodesOf(codes, map, v) + 0x1p23F;  // the code in the low mantissa bits
    Words bits;
    __builtin_memcpy(&bits, &shifted, sizeof(bits));
    Store(__builtin_convertvector(bits & 0xffU, Bytes), out + i, count);
  });
}

template <bool kScaled, class T>
inline void ResidualOf(const CodeRange& codes, const GroupMap& map, const float* w, const float* s,
                       std::size_t n, T* d) {
  ForEachVector<kScaled>(w, s, n, [&](Floats v, Floats scale, std::size_t i, std::size_t count) {
    const Floats code = CodesOf(codes, map, kScaled ? v * scale : v);
    Floats restored = (code - map.zero) * map.scale;
    if constexpr (kScaled) restored /= scale;
    StoreResidual(v - restored, d + i, count);
  });
}

void Residual(const CodeRange& codes, const GroupMap& map, const float* w, std::size_t n,
              float* d) {
  ResidualOf<false>(codes, map, w, nullptr, n, d);
}

template <class T>
void ScaledResidual(const CodeRange& codes, const float* w, const float* s, std::size_t n,
                    std::size_t group, T* d) {
  GroupMap map;
  map.bound = __builtin_inff();
  for (std::size_t first = 0; first < n; first += group) {
    float lo = 0;
    float hi = 0;
    RangeOf<true>(w + first, s + first, group, &lo, &hi);
    Map(codes, lo, hi, &map);
    ResidualOf<true>(codes, map, w + first, s + first, group, d + first);
  }
}

void DequantizeGroup(const std::uint8_t* __restrict codes, std::size_t n, float scale, float zero,
                     float* __restrict w) {
  for (std::size_t i = 0; i < n; ++i) w[i] = (static_cast<float>(codes[i]) - zero) * scale;
}

}  // namespace

extern const GroupLoops kGroupLoops;
const GroupLoops kGroupLoops = {
    Range,          Map, Quantize, Residual, ScaledResidual<float>, ScaledResidual<std::uint16_t>,
    DequantizeGroup};
}  // namespace awq::quant::AWQ_ISA
