#include "quant/group.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>
#include <vector>

#include "testing/loops.h"

namespace awq::quant {
namespace {

using testing::IsasOfThisCpu;

// The definition in group.h, one element at a time, with the C library's rounding.
struct Reference {
  float scale = 0;
  float zero = 0;
  std::vector<std::uint8_t> codes;
  std::vector<float> restored;

  Reference(const Spec& spec, std::vector<float> w, float bound) {
    const auto n = static_cast<float>(spec.max_code());
    float lo = 0;
    float hi = 0;
    for (float& x : w) {
      x = std::min(std::max(x, -bound), bound);
      lo = std::min(lo, x);
      hi = std::max(hi, x);
    }
    if (spec.symmetric) {
      scale =
          RoundToF16(std::max(std::max(-lo, hi), 1e-5F) / static_cast<float>(spec.mid_code() - 1));
    } else {
      scale = RoundToF16(std::max(hi - lo, 1e-5F) / n);
    }
    if (scale == 0) scale = 0x1p-24F;
    zero = spec.symmetric ? static_cast<float>(spec.mid_code())
                          : std::min(std::nearbyint(-lo / scale), n);
    for (float x : w) {
      const float code = std::min(std::max(std::nearbyint(x / scale) + zero, 0.0F), n);
      codes.push_back(static_cast<std::uint8_t>(code));
      restored.push_back((code - zero) * scale);
    }
  }
};

// Groups as they come and as they should not: outliers, one sign, constant, dead, tiny, ties.
std::vector<float> MakeGroup(std::mt19937& random, int kind, std::size_t n) {
  std::normal_distribution<float> normal(0, 0.02F);
  std::vector<float> w(n);
  for (float& x : w) {
    x = normal(random);
    if (kind == 1) x = std::abs(x) + 0.1F;
    if (kind == 2) x = -0.37F;
    if (kind == 3) x = 0;
    if (kind == 4) x *= 1e-6F;
    if (kind == 5) x = std::round(x * 100) / 2;  // halves of steps
    if (kind == 6) x *= 1e6F;
    if (kind == 7) x *= 3e-5F;
  }
  if (kind == 0) w[n / 2] = 1.5F;
  return w;
}

struct Case {
  int bits;
  bool symmetric;
  std::size_t n;
};

class GroupArithmetic : public ::testing::TestWithParam<Case> {
 protected:
  Spec spec() const { return {GetParam().bits, GetParam().n, GetParam().symmetric}; }
};

TEST_P(GroupArithmetic, EveryInstructionSetGivesTheDefinitionBitForBit) {
  std::mt19937 random(7);
  const std::size_t n = GetParam().n;
  for (int kind = 0; kind < 8; ++kind) {
    const std::vector<float> w = MakeGroup(random, kind, n);
    for (float bound : {kNoBound, 0.03F}) {
      const Reference want(spec(), w, bound);
      for (Isa isa : IsasOfThisCpu()) {
        SCOPED_TRACE(fmt::format("{} kind {} bound {}", IsaName(isa), kind, bound));
        const GroupQuantizer quantizer(spec(), LoopsFor(isa));
        const GroupMap map = quantizer.MapOf(quantizer.Range(w.data(), n), bound);
        EXPECT_EQ(map.scale, want.scale);
        EXPECT_EQ(map.zero, want.zero);
        std::vector<std::uint8_t> codes(n + 1, 0xee);
        quantizer.Quantize(map, w.data(), n, codes.data());
        std::vector<float> residual(n + 1, 42);
        quantizer.Residual(map, w.data(), n, residual.data());
        std::vector<float> restored(n);
        LoopsFor(isa).dequantize(want.codes.data(), n, map.scale, map.zero, restored.data());
        for (std::size_t i = 0; i < n; ++i) {
          ASSERT_EQ(codes[i], want.codes[i]) << i;
          ASSERT_EQ(residual[i], w[i] - want.restored[i]) << i;
          ASSERT_EQ(restored[i], want.restored[i]) << i;
        }
        EXPECT_EQ(codes[n], 0xee) << "wrote past the end";
        EXPECT_EQ(residual[n], 42) << "wrote past the end";
      }
    }
  }
}

TEST_P(GroupArithmetic, ScaledResidualIsTheDefinition) {
  std::mt19937 random(11);
  std::uniform_real_distribution<float> uniform(0.1F, 8);
  const std::size_t n = GetParam().n;
  std::vector<float> w;
  std::vector<float> s(4 * n);
  for (int kind : {0, 1, 5, 3}) {
    const std::vector<float> group = MakeGroup(random, kind, n);
    w.insert(w.end(), group.begin(), group.end());
  }
  for (float& x : s) x = RoundToF16(uniform(random));
  for (Isa isa : IsasOfThisCpu()) {
    const GroupQuantizer quantizer(spec(), LoopsFor(isa));
    std::vector<float> residual(4 * n + 1, 42);
    std::vector<BF16> rounded(4 * n + 1, BF16{0x1234});
    quantizer.ScaledResidual(w.data(), s.data(), 4 * n, residual.data());
    quantizer.ScaledResidual(w.data(), s.data(), 4 * n, rounded.data());
    for (std::size_t g = 0; g < 4; ++g) {
      std::vector<float> scaled(n);
      for (std::size_t i = 0; i < n; ++i) scaled[i] = w[g * n + i] * s[g * n + i];
      const Reference want(spec(), scaled, kNoBound);
      for (std::size_t i = 0; i < n; ++i) {
        const std::size_t k = g * n + i;
        ASSERT_EQ(residual[k], w[k] - want.restored[i] / s[k]) << IsaName(isa) << " " << k;
        ASSERT_EQ(rounded[k].bits, ToBF16(residual[k]).bits) << IsaName(isa) << " " << k;
      }
    }
    EXPECT_EQ(residual[4 * n], 42);
    EXPECT_EQ(rounded[4 * n].bits, 0x1234);
  }
}

INSTANTIATE_TEST_SUITE_P(, GroupArithmetic,
                         ::testing::Values(Case{4, false, 128}, Case{4, true, 128},
                                           Case{3, false, 64}, Case{3, true, 32},
                                           Case{2, false, 16}, Case{2, true, 48},
                                           Case{8, false, 128}, Case{8, true, 128},
                                           Case{4, false, 43}, Case{4, false, 1}, Case{3, true, 7},
                                           Case{4, false, 172}, Case{5, false, 31}),
                         [](const auto& test) {
                           return fmt::format("bits{}{}n{}", test.param.bits,
                                              test.param.symmetric ? "sym" : "asym", test.param.n);
                         });

// The scale that is used is the scale that fp16 stores, over all of fp16's range.
TEST(Group, ScaleIsAlwaysAPositiveHalf) {
  for (Isa isa : IsasOfThisCpu()) {
    const GroupQuantizer quantizer(Spec{}, LoopsFor(isa));
    for (float range = 1e-12F; range < 15 * 65504.0F; range *= 1.0137F) {
      const float scale = quantizer.MapOf({-range / 3, range}).scale;
      const float exact = std::max(range - (-range / 3), 1e-5F) / 15;
      ASSERT_GT(scale, 0) << range;
      if (exact < 65520) {
        ASSERT_EQ(scale, RoundToF16(exact)) << range;
      } else {
        ASSERT_TRUE(std::isinf(scale)) << range;
      }
    }
  }
}

// Every fp16 midpoint goes to even, as ToF16 does, including the subnormal ones.
TEST(Group, ScaleRoundsMidpointsToEven) {
  const GroupQuantizer quantizer(Spec{8, 128, false});
  for (std::uint32_t bits = 0; bits < 0x7bff; ++bits) {
    const float below = ToFloat(F16{static_cast<std::uint16_t>(bits)});
    const float above = ToFloat(F16{static_cast<std::uint16_t>(bits + 1)});
    const float midpoint = (below + above) / 2;
    const float range = midpoint * 255;
    if (range / 255 != midpoint || range <= 1e-5F) continue;
    ASSERT_EQ(quantizer.MapOf({0, range}).scale, RoundToF16(midpoint)) << bits;
  }
}

// A group of one sign loses only rounding: the reference implementations saturate here.
TEST(Group, GroupsOfOneSignStayWithinHalfAStep) {
  std::vector<float> w(128);
  for (std::size_t i = 0; i < w.size(); ++i) w[i] = 1 + static_cast<float>(i) / 128;
  const GroupQuantizer quantizer(Spec{});
  const GroupMap map = quantizer.MapOf(quantizer.Range(w.data(), w.size()));
  EXPECT_EQ(map.zero, 0);
  std::vector<float> residual(w.size());
  quantizer.Residual(map, w.data(), w.size(), residual.data());
  // half a step, and what the scale's rounding to fp16 (2^-11) moves the largest of 15 steps
  for (float r : residual) EXPECT_LE(std::abs(r), map.scale * (0.5F + 15 * 0x1p-11F));
}

TEST(Group, CheckWeightsNamesWhatIsWrong) {
  ThreadPool pool(3);
  Matrix<float> w(100, 256, 0.25F);
  const Spec spec;
  EXPECT_TRUE(CheckWeights(pool, w, spec, "layer.weight"));

  w(77, 200) = std::numeric_limits<float>::quiet_NaN();
  w(90, 3) = std::numeric_limits<float>::infinity();
  Status status = CheckWeights(pool, w, spec, "layer.weight");
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().message,
            "layer.weight: expected finite weights, found nan in row 77, column 200");

  w(77, 200) = 1e30F;
  w(90, 3) = 0;
  status = CheckWeights(pool, w, spec, "layer.weight");
  ASSERT_FALSE(status);
  EXPECT_NE(status.error().message.find("row 77, columns 128 to 255"), std::string::npos)
      << status.error().message;

  w(77, 200) = 15 * 65504.0F;  // the largest that fits
  EXPECT_TRUE(CheckWeights(pool, w, spec, "layer.weight"));
  EXPECT_FALSE(CheckWeights(pool, w, Spec{4, 96, false}, "layer.weight")) << "256 % 96 != 0";
  EXPECT_FALSE(CheckWeights(pool, w, Spec{4, 0, false}, "layer.weight"));
  EXPECT_FALSE(CheckWeights(pool, w, Spec{1, 128, false}, "layer.weight"));
  EXPECT_FALSE(CheckWeights(pool, w, Spec{9, 128, false}, "layer.weight"));
}

TEST(QuantizedLinear, DequantizeIsExact) {
  QuantizedLinear linear{Spec{4, 3, false}, Matrix<std::uint8_t>(4, 6), Matrix<float>(4, 2),
                         Matrix<std::uint8_t>(4, 2)};
  std::mt19937 random(3);
  for (auto& code : linear.codes.span()) code = static_cast<std::uint8_t>(random() % 16);
  for (auto& zero : linear.zeros.span()) zero = static_cast<std::uint8_t>(random() % 16);
  for (auto& scale : linear.scales.span())
    scale = RoundToF16(static_cast<float>(random() % 1000) / 7);
  Matrix<float> out(2, 6);
  Dequantize(linear, 1, out);
  for (std::size_t r = 0; r < 2; ++r) {
    for (std::size_t c = 0; c < 6; ++c) {
      const int steps = linear.codes(r + 1, c) - linear.zeros(r + 1, c / 3);
      EXPECT_EQ(static_cast<double>(out(r, c)),
                steps * static_cast<double>(linear.scales(r + 1, c / 3)));
    }
  }
  EXPECT_THROW(Dequantize(linear, 3, out), InternalError);
}

}  // namespace
}  // namespace awq::quant
