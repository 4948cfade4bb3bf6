#include "cuda/numbers.h"

#include <gtest/gtest.h>

#include <cmath>

namespace awq::cuda {
namespace {

// The nearest of all finite values of T, ties to the even one; what is beyond the largest by half a
// step or more is infinite.
template <class T>
void ExpectNearest(float x) {
  const T rounded = FromFloat<T>(x);
  const float at = ToFloat(rounded);
  if (std::isinf(at)) {
    const T largest{static_cast<std::uint16_t>((rounded.bits & 0x7fffu) - 1)};
    const T before{static_cast<std::uint16_t>(largest.bits - 1)};
    const double half_step = (double{ToFloat(largest)} - double{ToFloat(before)}) / 2;
    EXPECT_GE(std::abs(double{x}), double{ToFloat(largest)} + half_step) << x;
    return;
  }
  for (const int step : {-1, 1}) {
    const T neighbour{static_cast<std::uint16_t>(rounded.bits + step)};
    const float other = ToFloat(neighbour);
    if ((rounded.bits & 0x7fffu) == 0 || !std::isfinite(other)) {
      continue;
    }
    const double mine = std::abs(double{x} - double{at}), its = std::abs(double{x} - double{other});
    EXPECT_LE(mine, its) << x;
    EXPECT_TRUE(mine < its || rounded.bits % 2 == 0) << x;
  }
}

template <class T>
void ExpectRoundTrips(std::uint16_t infinity) {
  for (unsigned bits = 0; bits < 65536; ++bits) {
    const T x{static_cast<std::uint16_t>(bits)};
    if ((bits & 0x7fffu) > infinity) {
      EXPECT_TRUE(std::isnan(ToFloat(x)));
      EXPECT_TRUE(std::isnan(ToFloat(FromFloat<T>(ToFloat(x)))));
    } else {
      EXPECT_EQ(FromFloat<T>(ToFloat(x)).bits, bits);
    }
  }
}

TEST(Numbers, EveryValueSurvives) {
  ExpectRoundTrips<Half>(0x7c00);
  ExpectRoundTrips<Bfloat16>(0x7f80);
}

TEST(Numbers, RoundsToTheNearest) {
  std::uint32_t bits = 1;
  for (int i = 0; i < 100000; ++i) {
    bits = bits * 1664525u + 1013904223u;
    const float x = BitCast<float>(bits);
    if (std::isfinite(x)) {
      ExpectNearest<Half>(x);
      ExpectNearest<Bfloat16>(x);
      ExpectNearest<Half>(std::fmod(x, 1.0f));  // most of the others are infinite
    }
  }
  for (const float x : {65519.0f, 65520.0f, 0x1p-25f, 0x1.8p-24f, 0x1p-14f, 0x1.ffep-15f, -0.0f}) {
    ExpectNearest<Half>(x);
  }
}

}  // namespace
}  // namespace awq::cuda
