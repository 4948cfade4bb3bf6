#include <cstddef>
#include <cstdint>

#include "search/statistics_loops.h"

namespace awq::search::AWQ_ISA {
namespace {

inline float FromBits(std::uint32_t bits) {
  float value = 0;
  __builtin_memcpy(&value, &bits, sizeof(value));
  return value;
}

inline std::uint32_t BitsOf(float x) {
  std::uint32_t bits = 0;
  __builtin_memcpy(&bits, &x, sizeof(bits));
  return bits;
}
inline std::uint32_t BitsOf(std::uint16_t x) { return static_cast<std::uint32_t>(x) << 16; }

template <class T>
inline std::uint32_t AddToken(const T* __restrict x, std::size_t columns,
                              double* __restrict abs_sum, float* __restrict max_abs) {
  std::uint32_t nonfinite = 0;
  for (std::size_t c = 0; c < columns; ++c) {
    const std::uint32_t magnitude = BitsOf(x[c]) & 0x7fffffffU;
    const float value = FromBits(magnitude);
    nonfinite += static_cast<std::uint32_t>(magnitude >= 0x7f800000U);
    abs_sum[c] += static_cast<double>(value);
    max_abs[c] = value > max_abs[c] ? value : max_abs[c];
  }
  return nonfinite;
}

template <class T>
inline void AddSigned(const T* __restrict x, std::size_t columns, std::uint32_t sign,
                      float* __restrict sketch) {
  for (std::size_t c = 0; c < columns; ++c) sketch[c] += FromBits(BitsOf(x[c]) ^ sign);
}

template <class T>
std::size_t Add(const TokenColumns<T>& tokens, const ColumnSums& sums) {
  std::size_t nonfinite = 0;
  for (std::size_t t = 0; t < tokens.tokens; ++t) {
    const T* x = tokens.x + t * tokens.stride;
    nonfinite += AddToken(x, tokens.columns, sums.abs_sum, sums.max_abs);
    if (sums.sketch == nullptr) continue;
    const SketchPlace place = PlaceInSketch(tokens.first_token + t, sums.sketch_rows);
    AddSigned(x, tokens.columns, place.sign, sums.sketch + place.row * sums.sketch_stride);
  }
  return nonfinite;
}

}  // namespace

extern const StatisticsLoops kStatisticsLoops;
const StatisticsLoops kStatisticsLoops = {Add<float>, Add<std::uint16_t>};
}  // namespace awq::search::AWQ_ISA
