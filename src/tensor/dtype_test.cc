#include "tensor/dtype.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

namespace awq {
namespace {

// Every half converts to float and back to itself (NaNs stay NaNs).
TEST(DType, AllHalvesRoundTrip) {
  for (std::uint32_t bits = 0; bits <= 0xffff; ++bits) {
    const F16 half{static_cast<std::uint16_t>(bits)};
    const float value = ToFloat(half);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(ToFloat(ToF16(value))));
    } else {
      EXPECT_EQ(ToF16(value).bits, half.bits) << value;
    }
    const BF16 brain{static_cast<std::uint16_t>(bits)};
    if (!std::isnan(ToFloat(brain))) {
      EXPECT_EQ(ToBF16(ToFloat(brain)).bits, brain.bits);
    }
  }
}

// Between two neighbouring halves the nearer wins, and the even one at the midpoint.
TEST(DType, RoundsToNearestEven) {
  for (std::uint32_t bits = 0; bits < 0x7bff; ++bits) {
    const float low = ToFloat(F16{static_cast<std::uint16_t>(bits)});
    const float high = ToFloat(F16{static_cast<std::uint16_t>(bits + 1)});
    const float middle = low + (high - low) / 2;
    const std::uint32_t even = bits + (bits & 1U);
    EXPECT_EQ(ToF16(middle).bits, even);
    EXPECT_EQ(ToF16(std::nextafter(middle, 0.0F)).bits, bits);
    EXPECT_EQ(ToF16(std::nextafter(middle, 1e9F)).bits, bits + 1);
    EXPECT_EQ(ToF16(-middle).bits, even | 0x8000U);
  }
}

TEST(DType, Extremes) {
  EXPECT_EQ(ToF16(65504.0F).bits, 0x7bff);
  EXPECT_EQ(ToF16(65519.99F).bits, 0x7bff);
  EXPECT_EQ(ToF16(65520.0F).bits, 0x7c00);
  EXPECT_EQ(ToF16(std::numeric_limits<float>::infinity()).bits, 0x7c00);
  EXPECT_EQ(ToF16(std::numeric_limits<float>::denorm_min()).bits, 0);
  EXPECT_EQ(ToBF16(std::numeric_limits<float>::max()).bits, 0x7f80);
  EXPECT_TRUE(std::isnan(ToFloat(ToBF16(std::bit_cast<float>(0x7f800001U)))));
}

TEST(DType, NamesRoundTrip) {
  for (DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kI64, DType::kI32, DType::kI16,
                      DType::kU8, DType::kI8, DType::kF64, DType::kU64, DType::kU32, DType::kU16,
                      DType::kBool, DType::kF8E4M3, DType::kF8E5M2}) {
    EXPECT_EQ(ParseDType(DTypeName(dtype)), dtype);
  }
  EXPECT_EQ(ElementBytes(DType::kF64), 8U);
  EXPECT_EQ(ElementBytes(DType::kF8E5M2), 1U);
  EXPECT_FALSE(ParseDType("F4").has_value());
}

}  // namespace
}  // namespace awq
