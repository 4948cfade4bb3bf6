#include "kernels/linear.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "testing/loops.h"

namespace awq::kernels {
namespace {

constexpr double kUnit = 0x1p-24;
constexpr std::size_t kOut = 70;  // more than two tasks of rows
constexpr std::size_t kIn = 96;
constexpr std::size_t kTokens = 6;

using testing::NormalFloats;

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
    const Matrix<float> x = AsMatrix(NormalFloats(tokens * kIn, 3), kIn);
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
      const Stored stored(dtype, NormalFloats(kOut * kIn, 1), shift);
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
  const Stored stored(DType::kF32, NormalFloats(kOut * kIn, 1), 0);
  const std::vector<float> bias = NormalFloats(kOut, 2);
  Linear linear = Linear::FromDense(pool, stored.view, GetParam());
  linear.set_bias(bias);
  ExpectApplies(linear, GetParam(), stored.values, bias);
}

TEST_P(LinearOf, FloatsAreOwned) {
  ThreadPool pool(2);
  const std::vector<float> weights = NormalFloats(kOut * kIn, 4);
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
  const Matrix<float> rows = AsMatrix(NormalFloats(101 * 33, 6), 33);
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

quant::QuantizedLinear FourBits(std::size_t group_size) {
  quant::QuantizedLinear weight{{4, group_size, false},
                                Matrix<std::uint8_t>(kOut, kIn),
                                Matrix<float>(kOut, kIn / group_size),
                                Matrix<std::uint8_t>(kOut, kIn / group_size)};
  std::mt19937 random(4);
  for (auto& code : weight.codes.span()) code = static_cast<std::uint8_t>(random() % 16);
  for (auto& zero : weight.zeros.span()) zero = static_cast<std::uint8_t>(random() % 16);
  for (auto& scale : weight.scales.span()) {
    scale = RoundToF16(1e-3F * static_cast<float>(1 + random() % 50));
  }
  return weight;
}

// Packed or not, with groups of one size or several, with biases or without.
TEST(Linear, ProductsSideBySideAreThoseOfEachAlone) {
  ThreadPool pool(3);
  const quant::QuantizedLinear fine = FourBits(8);
  const quant::QuantizedLinear coarse = FourBits(16);
  for (const Packed packed : {Packed::kExact, Packed::kInt8}) {
    Linear first = Linear::FromQuantized(pool, fine, Precision::kF32, packed);
    first.set_bias(NormalFloats(first.out_features(), 3));
    const Linear second = Linear::FromQuantized(pool, fine, Precision::kF32, packed);
    const Linear other = Linear::FromQuantized(pool, coarse, Precision::kF32, packed);
    const Linear dense = Linear::FromQuantized(pool, fine, Precision::kF32);
    Activations x(Precision::kF32, packed);
    Matrix<float> rows(5, first.in_features());
    std::ranges::copy(NormalFloats(rows.span().size(), 4), rows.span().begin());
    x.Assign(pool, rows);
    const std::vector<const Linear*> cases[] = {
        {&first, &second}, {&first, &other}, {&dense, &second}, {&second, &dense}, {&first}};
    for (const auto& linears : cases) {
      std::vector<Matrix<float>> together, alone;
      std::vector<Linear::Product> products;
      for (const Linear* linear : linears) {
        together.emplace_back(rows.rows(), linear->out_features());
        alone.emplace_back(rows.rows(), linear->out_features());
        linear->Apply(pool, x, alone.back());
      }
      for (std::size_t i = 0; i < linears.size(); ++i) {
        products.push_back({linears[i], together[i]});
      }
      Linear::Apply(pool, x, products);
      for (std::size_t i = 0; i < linears.size(); ++i) {
        EXPECT_TRUE(std::ranges::equal(together[i].span(), alone[i].span())) << i;
      }
    }
  }
}

// An input moves by at most half a step of its block, 1/254 of the largest there.
TEST(Linear, PackedWithInt8ActivationsIsNearTheDenseOne) {
  ThreadPool pool(2);
  constexpr std::size_t kGroup = 32;
  const quant::QuantizedLinear weight = FourBits(kGroup);
  const std::vector<float> bias = NormalFloats(kOut, 6);
  const Matrix<float> x = AsMatrix(NormalFloats(kTokens * kIn, 8), kIn);
  for (const Precision precision : {Precision::kF32, Precision::kBF16}) {
    if (precision == Precision::kBF16 && !math::HasFastBF16()) continue;
    Linear packed = Linear::FromQuantized(pool, weight, precision, Packed::kInt8);
    packed.set_bias(bias);
    EXPECT_LT(packed.owned_bytes(), kOut * kIn);
    Activations activations(precision, Packed::kInt8);
    activations.Assign(pool, x);
    Matrix<float> y(kTokens, kOut);
    packed.Apply(pool, activations, y);
    for (std::size_t t = 0; t < kTokens; ++t) {
      for (std::size_t n = 0; n < kOut; ++n) {
        double want = bias[n];
        double bound = 0;
        for (std::size_t k = 0; k < kIn; ++k) {
          const std::size_t g = k / kGroup;
          const double w = (weight.codes(n, k) - weight.zeros(n, g)) * weight.scales(n, g);
          double largest = 0;
          for (std::size_t i = g * kGroup; i < (g + 1) * kGroup; ++i) {
            largest = std::max(largest, std::fabs(static_cast<double>(x(t, i))));
          }
          want += w * x(t, k);
          bound += std::fabs(w) * largest / 254 * (1 + 0x1p-13);
        }
        EXPECT_NEAR(y(t, n), want, bound + kUnit * 8 * std::fabs(want));
      }
    }
    // A dense linear reads the same activations as ever.
    const std::vector<float> floats = NormalFloats(kOut * kIn, 2);
    const Stored stored(DType::kF32, floats, 0);
    const Linear dense = Linear::FromDense(pool, stored.view, precision);
    Activations plain(precision);
    plain.Assign(pool, x);
    Matrix<float> one(kTokens, kOut);
    Matrix<float> other(kTokens, kOut);
    dense.Apply(pool, activations, one);
    dense.Apply(pool, plain, other);
    EXPECT_TRUE(std::ranges::equal(one.span(), other.span()));
    // Another group size reads the same rows.
    const Linear finer = Linear::FromQuantized(pool, FourBits(8), precision, Packed::kInt8);
    Activations own(precision, Packed::kInt8);
    own.Assign(pool, x);
    finer.Apply(pool, activations, one);
    finer.Apply(pool, own, other);
    EXPECT_TRUE(std::ranges::equal(one.span(), other.span()));
    // New rows, new codes.
    const Matrix<float> zeros(kTokens, kIn, 0.0F);
    activations.Assign(pool, zeros);
    packed.Apply(pool, activations, y);
    for (std::size_t n = 0; n < kOut; ++n) EXPECT_EQ(y(1, n), bias[n]);
  }
}

TEST(Linear, WhatPanelsCannotHoldBecomesDense) {
  ThreadPool pool(1);
  const quant::QuantizedLinear weight = FourBits(4);
  const Linear linear = Linear::FromQuantized(pool, weight, Precision::kF32, Packed::kInt8);
  EXPECT_EQ(linear.owned_bytes(), kOut * kIn * sizeof(float));
  EXPECT_EQ(linear.f32()(3, 5), (weight.codes(3, 5) - weight.zeros(3, 1)) * weight.scales(3, 1));
}

}  // namespace
}  // namespace awq::kernels
