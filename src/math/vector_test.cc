#include "math/vector.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "math/vector_loops.h"
#include "testing/loops.h"

namespace awq::math {
namespace {

constexpr double kUnit = 0x1p-24;  // half the distance from 1 to the next float
constexpr float kInfinity = std::numeric_limits<float>::infinity();

using testing::NormalFloats;
using Table = testing::Table<VectorLoops>;

std::vector<Table> TablesOfThisCpu() {
  std::vector<Table> tables;
  for (const Isa isa : testing::IsasOfThisCpu()) {
    tables.push_back({IsaName(isa), &AWQ_TABLE_FOR(isa, kVectorLoops)});
  }
  return tables;
}

template <class Run>
std::vector<float> SameOnAll(Run run) {
  return testing::SameOnAll(TablesOfThisCpu(), run);
}

// Around the 16 lanes, around two registers, and long.
const std::vector<std::size_t> kLengths = {1, 2, 7, 15, 16, 17, 31, 32, 33, 47, 64, 100, 1000};

TEST(VectorLoops, EveryHalfBecomesTheFloatThatItIs) {
  std::vector<std::uint16_t> halves(65536);
  for (std::size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<std::uint16_t>(i);
  for (const Table& table : TablesOfThisCpu()) {
    std::vector<float> from_f16(halves.size());
    std::vector<float> from_bf16(halves.size());
    table.loops->f16_to_float(halves.data(), from_f16.data(), halves.size());
    table.loops->bf16_to_float(halves.data(), from_bf16.data(), halves.size());
    for (std::uint16_t half : halves) {
      ASSERT_EQ(std::bit_cast<std::uint32_t>(from_f16[half]),
                std::bit_cast<std::uint32_t>(ToFloat(F16{half})))
          << table.name << " " << half;
      ASSERT_EQ(std::bit_cast<std::uint32_t>(from_bf16[half]),
                std::bit_cast<std::uint32_t>(ToFloat(BF16{half})))
          << table.name << " " << half;
    }
  }
}

// Every value that a half can have, every middle between two neighbours, and the floats beside
// both; then floats of random bits.
std::vector<float> BoundaryFloats() {
  std::vector<float> values;
  const auto around = [&](std::uint32_t bits) {
    for (std::uint32_t moved : {bits - 1, bits, bits + 1}) {
      values.push_back(std::bit_cast<float>(moved));
    }
  };
  for (std::uint32_t half = 0; half < 65536; ++half) {
    const auto f16 = std::bit_cast<std::uint32_t>(ToFloat(F16{static_cast<std::uint16_t>(half)}));
    around(f16);
    around(f16 + 0x1000U);
    around(half << 16);
    around((half << 16) + 0x8000U);
  }
  for (std::uint32_t n = 0; n < 2048; ++n) {  // middles of subnormal halves: (n + 1/2) 2^-24
    around(std::bit_cast<std::uint32_t>((static_cast<float>(n) + 0.5F) * 0x1p-24F));
  }
  std::mt19937 random(1);
  for (int i = 0; i < 200000; ++i) {
    values.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(random())));
  }
  return values;
}

TEST(VectorLoops, FloatsAreRoundedToTheNearestHalf) {
  const std::vector<float> values = BoundaryFloats();
  for (const Table& table : TablesOfThisCpu()) {
    std::vector<std::uint16_t> f16(values.size());
    std::vector<std::uint16_t> bf16(values.size());
    table.loops->float_to_f16(values.data(), f16.data(), values.size());
    table.loops->float_to_bf16(values.data(), bf16.data(), values.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
      ASSERT_EQ(f16[i], ToF16(values[i]).bits) << table.name << " " << values[i];
      ASSERT_EQ(bf16[i], ToBF16(values[i]).bits) << table.name << " " << values[i];
    }
  }
}

TEST(VectorLoops, DotIsTheSumOfProducts) {
  for (std::size_t n : kLengths) {
    const std::vector<float> a = NormalFloats(n, 1);
    const std::vector<float> b = NormalFloats(n, 2);
    std::vector<std::uint16_t> a16(n);
    std::vector<std::uint16_t> b16(n);
    double sum = 0;
    double sum16 = 0;
    double size = 0;
    for (std::size_t i = 0; i < n; ++i) {
      a16[i] = ToBF16(a[i]).bits;
      b16[i] = ToBF16(b[i]).bits;
      sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
      sum16 +=
          static_cast<double>(ToFloat(BF16{a16[i]})) * static_cast<double>(ToFloat(BF16{b16[i]}));
      size += std::abs(static_cast<double>(a[i]) * static_cast<double>(b[i]));
    }
    const std::vector<float> dots = SameOnAll([&](const VectorLoops& loops) {
      return std::vector<float>{loops.dot(a.data(), b.data(), n),
                                loops.dot_bf16(a16.data(), b16.data(), n)};
    });
    // A product passes through at most n / 16 + 6 roundings; bf16 makes `size` 1 % larger at most.
    const double tolerance = (static_cast<double>(n) / 16 + 6) * kUnit * size * 1.02;
    EXPECT_NEAR(static_cast<double>(dots[0]), sum, tolerance) << n;
    EXPECT_NEAR(static_cast<double>(dots[1]), sum16, tolerance) << n;
  }
  EXPECT_EQ(baseline::kVectorLoops.dot(nullptr, nullptr, 0), 0.0F);
}

TEST(VectorLoops, ElementwiseLoopsRoundEachOperationOnce) {
  for (std::size_t n : kLengths) {
    const std::vector<float> x = NormalFloats(n, 3);
    const std::vector<float> w = NormalFloats(n, 4);
    const auto added = SameOnAll([&](const VectorLoops& loops) {
      std::vector<float> to = w;
      loops.add(x.data(), to.data(), n);
      return to;
    });
    const auto scaled = SameOnAll([&](const VectorLoops& loops) {
      std::vector<float> out(n);
      loops.scale_mul(x.data(), w.data(), 0.3F, out.data(), n);
      return out;
    });
    const auto multiplied = SameOnAll([&](const VectorLoops& loops) {
      std::vector<float> out = x;
      loops.multiply(out.data(), 0.3F, n);
      return out;
    });
    for (std::size_t i = 0; i < n; ++i) {
      const float third = x[i] * 0.3F;
      ASSERT_EQ(added[i], w[i] + x[i]);
      ASSERT_EQ(scaled[i], third * w[i]);
      ASSERT_EQ(multiplied[i], third);
    }
  }
}

TEST(VectorLoops, MaxFindsTheLargestWhereverItStands) {
  for (std::size_t n : kLengths) {
    for (std::size_t at = 0; at < n; at += 1 + n / 50) {
      std::vector<float> x(n, -3.0F);
      x[at] = -2.0F;
      for (const Table& table : TablesOfThisCpu()) {
        ASSERT_EQ(table.loops->max(x.data(), n), -2.0F) << table.name << " " << n << " " << at;
      }
    }
  }
}

// exp by way of exp_sum, one element at a time.
TEST(VectorLoops, ExpIsWithinThreeRoundingsOfTheTruth) {
  std::vector<float> x;
  for (float value = -87.0F; value <= 88.0F; value += 0.00171F) x.push_back(value);
  const auto values = SameOnAll([&](const VectorLoops& loops) {
    std::vector<float> out(x.size());
    (void)loops.exp_sum(x.data(), 1.0F, 0.0F, out.data(), x.size());
    return out;
  });
  double worst = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double truth = std::exp(static_cast<double>(x[i]));
    worst = std::max(worst, std::abs(static_cast<double>(values[i]) - truth) / truth);
  }
  // The polynomial's last step rounds twice, what comes before it weighs at most .42 of that.
  EXPECT_LE(worst, 3 * kUnit);
}

TEST(VectorLoops, ExpBeyondItsRange) {
  const std::vector<float> x = {
      -87.1F, -1000, -kInfinity, 0, 88.1F, kInfinity, std::numeric_limits<float>::quiet_NaN()};
  for (const Table& table : TablesOfThisCpu()) {
    std::vector<float> out(x.size());
    (void)table.loops->exp_sum(x.data(), 1.0F, 0.0F, out.data(), x.size());
    EXPECT_EQ(out[0], 0.0F) << table.name;
    EXPECT_EQ(out[1], 0.0F) << table.name;
    EXPECT_EQ(out[2], 0.0F) << table.name;
    EXPECT_EQ(out[3], 1.0F) << table.name;
    EXPECT_EQ(out[4], kInfinity) << table.name;
    EXPECT_EQ(out[5], kInfinity) << table.name;
    EXPECT_TRUE(std::isnan(out[6])) << table.name;
  }
}

TEST(VectorLoops, ExpSumAddsWhatItWrites) {
  for (std::size_t n : kLengths) {
    const std::vector<float> x = NormalFloats(n, 5, 3);
    const auto result = SameOnAll([&](const VectorLoops& loops) {
      std::vector<float> out(n + 1);
      out[n] = loops.exp_sum(x.data(), 0.5F, 2.0F, out.data(), n);
      return out;
    });
    double sum = 0;
    for (std::size_t i = 0; i < n; ++i) sum += static_cast<double>(result[i]);
    EXPECT_NEAR(static_cast<double>(result[n]), sum,
                (static_cast<double>(n) / 16 + 5) * kUnit * sum);
  }
}

TEST(VectorLoops, SiluMulAgainstDouble) {
  for (std::size_t n : kLengths) {
    const std::vector<float> gate = NormalFloats(n, 6, 20);
    const std::vector<float> up = NormalFloats(n, 7);
    const auto out = SameOnAll([&](const VectorLoops& loops) {
      std::vector<float> values(n);
      loops.silu_mul(gate.data(), up.data(), values.data(), n);
      return values;
    });
    for (std::size_t i = 0; i < n; ++i) {
      const auto g = static_cast<double>(gate[i]);
      const double truth = g / (1 + std::exp(-g)) * static_cast<double>(up[i]);
      // exp 3 roundings, then one each for +, / and *; below -87 it is cut to 0.
      ASSERT_NEAR(static_cast<double>(out[i]), truth, 6.1 * kUnit * std::abs(truth) + 1e-30)
          << gate[i];
    }
  }
}

TEST(VectorLoops, RotateTurnsPairs) {
  for (std::size_t half : {1U, 4U, 8U, 16U, 24U, 32U, 64U}) {
    const std::vector<float> x = NormalFloats(2 * half, 8);
    const std::vector<float> angles = NormalFloats(half, 9);
    std::vector<float> cosines;
    std::vector<float> sines;
    for (float angle : angles) {
      cosines.push_back(std::cos(angle));
      sines.push_back(std::sin(angle));
    }
    const auto out = SameOnAll([&](const VectorLoops& loops) {
      std::vector<float> turned = x;
      loops.rotate(turned.data(), cosines.data(), sines.data(), half);
      return turned;
    });
    for (std::size_t i = 0; i < half; ++i) {
      const float low = x[i] * cosines[i];
      const float high = x[i + half] * cosines[i];
      ASSERT_EQ(out[i], low - x[i + half] * sines[i]);
      ASSERT_EQ(out[i + half], high + x[i] * sines[i]);
    }
  }
}

TEST(Vector, ConvertReadsUnalignedBytesOfEveryFloatType) {
  const std::size_t n = 2500;  // more than two of the pieces that are moved at a time
  const std::vector<float> values = NormalFloats(n, 10);
  for (DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    const std::size_t element = ElementBytes(dtype);
    std::vector<std::byte> bytes(n * element + 1);
    std::vector<float> want(n);
    for (std::size_t i = 0; i < n; ++i) {
      const F16 f16 = ToF16(values[i]);
      const BF16 bf16 = ToBF16(values[i]);
      const void* from = dtype == DType::kF32   ? static_cast<const void*>(&values[i])
                         : dtype == DType::kF16 ? static_cast<const void*>(&f16)
                                                : static_cast<const void*>(&bf16);
      std::memcpy(bytes.data() + 1 + i * element, from, element);
      want[i] = dtype == DType::kF32   ? values[i]
                : dtype == DType::kF16 ? ToFloat(f16)
                                       : ToFloat(bf16);
    }
    const TensorView view{dtype, {n}, std::span(bytes).subspan(1)};
    std::vector<float> floats(n);
    std::vector<BF16> halves(n);
    Convert(view, std::span<float>(floats));
    Convert(view, std::span<BF16>(halves));
    EXPECT_EQ(floats, want);
    for (std::size_t i = 0; i < n; ++i) ASSERT_EQ(halves[i].bits, ToBF16(want[i]).bits);
  }
  std::vector<float> short_by_one(n - 1);
  EXPECT_THROW(Convert(TensorView{DType::kF32, {n}, std::as_bytes(std::span(values))},
                       std::span<float>(short_by_one)),
               InternalError);
}

TEST(Vector, RmsNormAgainstDouble) {
  for (std::size_t n : kLengths) {
    const std::vector<float> x = NormalFloats(n, 11);
    const std::vector<float> weight = NormalFloats(n, 12);
    double mean = 0;
    for (float value : x) mean += static_cast<double>(value) * static_cast<double>(value);
    mean /= static_cast<double>(n);
    std::vector<float> out(n);
    RmsNorm(x, weight, 1e-5F, out);
    for (std::size_t i = 0; i < n; ++i) {
      const double truth =
          static_cast<double>(x[i]) / std::sqrt(mean + 1e-5) * static_cast<double>(weight[i]);
      // Half the error of the sum of squares (the root), and six roundings after it.
      ASSERT_NEAR(static_cast<double>(out[i]), truth,
                  (static_cast<double>(n) / 32 + 9) * kUnit * std::abs(truth));
    }
  }
}

TEST(Vector, SoftmaxSumsToOneAndStandsAnyRange) {
  for (std::size_t n : kLengths) {
    for (float offset : {0.0F, 1e4F, -1e4F}) {
      std::vector<float> x = NormalFloats(n, 13, 4);
      for (float& value : x) value += offset;
      const std::vector<float> scores = x;
      Softmax(x, 0.25F);
      double largest = -std::numeric_limits<double>::infinity();
      for (float value : scores) largest = std::max(largest, static_cast<double>(value));
      double sum = 0;
      for (float value : scores) sum += std::exp(0.25 * (static_cast<double>(value) - largest));
      for (std::size_t i = 0; i < n; ++i) {
        const double argument = 0.25 * (static_cast<double>(scores[i]) - largest);
        const double truth = std::exp(argument) / sum;
        // The difference and its product with the scale round once each, relative to |argument|.
        ASSERT_NEAR(static_cast<double>(x[i]), truth,
                    (static_cast<double>(n) / 16 + 12 + 4 * std::abs(argument)) * kUnit * truth);
      }
    }
  }
}

TEST(Vector, LogSumExpStandsAnyRange) {
  for (std::size_t n : {1U, 17U, 1000U, 1025U, 5000U}) {
    for (float offset : {0.0F, 3e4F, -3e4F}) {
      std::vector<float> x = NormalFloats(n, 14, 4);
      for (float& value : x) value += offset;
      double largest = -std::numeric_limits<double>::infinity();
      for (float value : x) largest = std::max(largest, static_cast<double>(value));
      double sum = 0;
      for (float value : x) sum += std::exp(static_cast<double>(value) - largest);
      // The sum's relative error is an absolute one of its logarithm: at most 64 additions a lane,
      // and the argument of exp is off by a rounding of at most 32.
      EXPECT_NEAR(LogSumExp(x), largest + std::log(sum), (64 + 9 + 32) * kUnit) << n;
    }
  }
  EXPECT_TRUE(std::isnan(LogSumExp(std::vector<float>{1.0F, std::nanf("")})));
}

TEST(Vector, KlDivergenceAgainstDouble) {
  for (std::size_t n : {1U, 17U, 1024U, 5000U}) {
    const std::vector<float> p = NormalFloats(n, 15, 3);
    std::vector<float> q = NormalFloats(n, 16, 0.1F);
    for (std::size_t i = 0; i < n; ++i) q[i] += p[i] + 700;  // a shift changes nothing
    double p_sum = 0;
    double q_sum = 0;
    for (std::size_t i = 0; i < n; ++i) {
      p_sum += std::exp(static_cast<double>(p[i]));
      q_sum += std::exp(static_cast<double>(q[i]) - 700);
    }
    double truth = 0;
    for (std::size_t i = 0; i < n; ++i) {
      const double log_p = static_cast<double>(p[i]) - std::log(p_sum);
      const double log_q = static_cast<double>(q[i]) - 700 - std::log(q_sum);
      truth += std::exp(log_p) * (log_p - log_q);
    }
    // Terms are as large as the spread of the logits (below 32) and weigh 1 together.
    EXPECT_NEAR(KlDivergence(p, q), truth, (64 + 9) * 32 * kUnit) << n;
    EXPECT_EQ(KlDivergence(p, p), 0);
  }
  EXPECT_TRUE(std::isnan(
      KlDivergence(std::vector<float>{1.0F, std::nanf("")}, std::vector<float>{1.0F, 2.0F})));
}

TEST(Vector, ArgMaxIsTheFirstOfTheLargest) {
  EXPECT_EQ(ArgMax(std::vector<float>{3.0F}), 0U);
  EXPECT_EQ(ArgMax(std::vector<float>{1.0F, 3.0F, -2.0F, 3.0F}), 1U);
  std::vector<float> x(1000, -1.0F);
  x[777] = 0;
  EXPECT_EQ(ArgMax(x), 777U);
  EXPECT_EQ(ArgMax(std::vector<float>{std::nanf(""), 1.0F}), 0U);
}

}  // namespace
}  // namespace awq::math
