#include "kernels/linear.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace awq::kernels {
namespace {

constexpr double kUnit = 0x1p-24;
constexpr std::size_t kOut = 70;  // more than two tasks of rows
constexpr std::size_t kIn = 96;
constexpr std::size_t kTokens = 6;

std::vector<float> Random(std::size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(n);
  for (float& x : values) x = normal(random);
  return values;
}

Matrix<float> AsMatrix(const std::vector<float>& values, std::size_t cols) {
  Matrix<float> m(values.size() / cols, cols);
  std::copy(values.begin(), values.end(), m.data());
  return m;
}

// `values` as bytes of `dtype`, `shift` bytes from an aligned address, and what those bytes mean.
struct Stored {
  std::vector<std::byte> bytes;
  std::vector<float> values;
  TensorView view;

  Stored(DType dtype, const std::vector<float>& from, std::size_t shift)
      : bytes(from.size() * ElementBytes(dtype) + shift) {
    for (std::size_t i = 0; i < from.size(); ++i) {
      const F16 f16 = ToF16(from[i]);
      const BF16 bf16 = ToBF16(from[i]);
      const void* element = dtype == DType::kF32   ? static_cast<const void*>(&from[i])
                            : dtype == DType::kF16 ? static_cast<const void*>(&f16)
                                                   : static_cast<const void*>(&bf16);
      std::memcpy(bytes.data() + shift + i * ElementBytes(dtype), element, ElementBytes(dtype));
      values.push_back(dtype == DType::kF32   ? from[i]
                       : dtype == DType::kF16 ? ToFloat(f16)
                                              : ToFloat(bf16));
    }
    view = {dtype, {kOut, kIn}, std::span(bytes).subspan(shift)};
  }
};

// y = x W^T + b in double, with x and W rounded as the precision says; k products and sums round
// once each (products of bf16 are exact, which is only better), the bias once more.
void ExpectApplies(const Linear& linear, Precision precision, const std::vector<float>& weights,
                   const std::vector<float>& bias) {
  ThreadPool pool(2);
  const auto rounded = [&](float value) {
    return static_cast<double>(precision == Precision::kBF16 ? ToFloat(ToBF16(value)) : value);
  };
  for (std::size_t tokens : {std::size_t{1}, kTokens}) {
    const Matrix<float> x = AsMatrix(Random(tokens * kIn, 3), kIn);
    Activations input(precision);
    input.Assign(pool, x.view());
    Matrix<float> y(tokens, kOut);
    linear.Apply(pool, input, y);
    for (std::size_t t = 0; t < tokens; ++t) {
      for (std::size_t n = 0; n < kOut; ++n) {
        double sum = bias.empty() ? 0 : static_cast<double>(bias[n]);
        double size = std::abs(sum);
        for (std::size_t k = 0; k < kIn; ++k) {
          const double product = rounded(x(t, k)) * rounded(weights[n * kIn + k]);
          sum += product;
          size += std::abs(product);
        }
        ASSERT_NEAR(static_cast<double>(y(t, n)), sum, (kIn + 2) * kUnit * size) << t << ", " << n;
      }
    }
  }
}

class LinearOf : public ::testing::TestWithParam<Precision> {
 protected:
  void SetUp() override {
    if (GetParam() == Precision::kBF16 && !math::HasFastBF16()) {
      GTEST_SKIP() << "this CPU has no bf16 instructions";
    }
  }
};

TEST_P(LinearOf, DenseWeightsOfEveryTypeAtAnyAddress) {
  ThreadPool pool(2);
  for (DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    for (std::size_t shift : {0U, 1U, 2U}) {
      SCOPED_TRACE(std::string(DTypeName(dtype)) + " shifted by " + std::to_string(shift));
      const Stored stored(dtype, Random(kOut * kIn, 1), shift);
      const Linear linear = Linear::FromDense(pool, stored.view, GetParam());
      EXPECT_EQ(linear.out_features(), kOut);
      EXPECT_EQ(linear.in_features(), kIn);
      ExpectApplies(linear, GetParam(), stored.values, {});
      // Used where it lies exactly if the type is the precision's and the address allows it.
      const DType own = GetParam() == Precision::kBF16 ? DType::kBF16 : DType::kF32;
      const bool in_place = dtype == own && shift % ElementBytes(own) == 0;
      EXPECT_EQ(linear.owned_bytes(), in_place ? 0 : kOut * kIn * ElementBytes(own));
    }
  }
}

TEST_P(LinearOf, Bias) {
  ThreadPool pool(2);
  const Stored stored(DType::kF32, Random(kOut * kIn, 1), 0);
  const std::vector<float> bias = Random(kOut, 2);
  Linear linear = Linear::FromDense(pool, stored.view, GetParam());
  linear.set_bias(bias);
  ExpectApplies(linear, GetParam(), stored.values, bias);
}

TEST_P(LinearOf, FloatsAreOwned) {
  ThreadPool pool(2);
  const std::vector<float> weights = Random(kOut * kIn, 4);
  const Linear linear = Linear::FromFloats(pool, AsMatrix(weights, kIn), GetParam());
  ExpectApplies(linear, GetParam(), weights, {});
}

TEST_P(LinearOf, QuantizedWeightsAreWhatTheirFormulaSays) {
  ThreadPool pool(2);
  quant::QuantizedLinear quantized;
  quantized.spec = {4, 32, false};
  quantized.codes = Matrix<std::uint8_t>(kOut, kIn);
  quantized.scales = Matrix<float>(kOut, kIn / 32);
  quantized.zeros = Matrix<std::uint8_t>(kOut, kIn / 32);
  std::mt19937 random(5);
  for (auto& code : quantized.codes.span()) code = static_cast<std::uint8_t>(random() % 16);
  for (auto& zero : quantized.zeros.span()) zero = static_cast<std::uint8_t>(random() % 16);
  for (auto& scale : quantized.scales.span()) {
    scale = RoundToF16(0.01F + static_cast<float>(random() % 100) * 1e-3F);
  }
  std::vector<float> weights(kOut * kIn);
  for (std::size_t n = 0; n < kOut; ++n) {
    for (std::size_t k = 0; k < kIn; ++k) {
      const int steps = quantized.codes(n, k) - quantized.zeros(n, k / 32);
      weights[n * kIn + k] = static_cast<float>(steps) * quantized.scales(n, k / 32);
    }
  }
  const Linear linear = Linear::FromQuantized(pool, quantized, GetParam());
  ExpectApplies(linear, GetParam(), weights, {});
}

TEST_P(LinearOf, RowsMadeOneAtATimeAreRowsAssigned) {
  ThreadPool pool(3);
  const Matrix<float> rows = AsMatrix(Random(101 * 33, 6), 33);
  Activations assigned(GetParam());
  assigned.Assign(pool, rows.view());
  Activations made(GetParam());
  made.Fill(pool, 101, 33, [&](std::size_t t, std::span<float> row) {
    std::copy(rows.row(t), rows.row(t) + 33, row.begin());
  });
  ASSERT_EQ(made.tokens(), 101U);
  ASSERT_EQ(made.width(), 33U);
  const auto bytes = [](const Activations& a) {
    return a.precision() == Precision::kBF16
               ? std::as_bytes(std::span(a.bf16().data, a.tokens() * a.width()))
               : std::as_bytes(std::span(a.f32().data, a.tokens() * a.width()));
  };
  EXPECT_EQ(std::memcmp(bytes(made).data(), bytes(assigned).data(), bytes(made).size()), 0);
  EXPECT_THROW((void)(GetParam() == Precision::kBF16 ? made.f32().rows : made.bf16().rows),
               InternalError);
}

INSTANTIATE_TEST_SUITE_P(Precisions, LinearOf, ::testing::Values(Precision::kF32, Precision::kBF16),
                         [](const auto& each) {
                           return each.param == Precision::kF32 ? "F32" : "BF16";
                         });

}  // namespace
}  // namespace awq::kernels
