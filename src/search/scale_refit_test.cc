#include "search/scale_refit.h"

#include <gtest/gtest.h>

#include <cmath>

#include "search/awq.h"
#include "search/gptq.h"
#include "search/gram_factor.h"
#include "search/test_matrices.h"

namespace awq::search {
namespace {

constexpr std::size_t kRows = 20;
constexpr std::size_t kIn = 96;
constexpr std::size_t kGroup = 16;

class RefitScalesTest : public ::testing::Test {
 protected:
  RefitScalesTest() {
    StatisticsAccumulator accumulator(kIn);
    Matrix<float> x = NormalMatrix(300, kIn, 1);
    for (std::size_t t = 0; t < x.rows(); ++t) {
      for (std::size_t i = 0; i + 1 < kIn; i += 2) x(t, i) += 0.8F * x(t, i + 1);
    }
    accumulator.Add(pool_, x);
    gram_ = std::move(std::move(accumulator).Finish().gram);
    for (std::size_t i = 0; i < kIn; ++i) {
      scale_.push_back(i % 3 == 0 ? 1.5F : 0.75F);
      added_.push_back(0.1F + 0.01F * static_cast<float>(i % 5));
    }
  }

  quant::QuantizedLinear Rounded() {
    return Round(pool_, ScaledWeights(pool_, weights_, scale_), {3, kGroup, false});
  }

  // d M d^T of a row, by its definition.
  double Loss(const quant::QuantizedLinear& linear, std::size_t row) const {
    std::vector<double> d(kIn);
    for (std::size_t k = 0; k < kIn; ++k) {
      const int steps = linear.codes(row, k) - linear.zeros(row, k / kGroup);
      d[k] = double{weights_(row, k)} -
             double{linear.scales(row, k / kGroup)} * steps / double{scale_[k]};
    }
    double loss = 0;
    for (std::size_t i = 0; i < kIn; ++i) {
      loss += double{added_[i]} * d[i] * d[i];
      for (std::size_t j = 0; j < kIn; ++j) loss += d[i] * double{gram_(i, j)} * d[j];
    }
    return loss;
  }

  // w M w^T and as much again: what the sums that a loss is made of may come to.
  double Size(std::size_t row) {
    quant::QuantizedLinear nothing = Rounded();
    for (float& scale : nothing.scales.span()) scale = 0;
    return 2 * Loss(nothing, row);
  }

  ThreadPool pool_{2};
  Matrix<float> weights_ = NormalMatrix(kRows, kIn, 2);
  Matrix<float> gram_;
  std::vector<float> scale_;
  std::vector<float> added_;
};

TEST_F(RefitScalesTest, NoNeighbourInFp16IsBetter) {
  const quant::QuantizedLinear before = Rounded();
  quant::QuantizedLinear after = Rounded();
  const std::vector<double> losses = RefitScales(pool_, weights_, scale_, {gram_, added_}, after);
  for (std::size_t r = 0; r < kRows; ++r) {
    // fp32 sums of kIn products.
    const double tolerance = (kIn + 8) * 0x1p-24 * Size(r);
    const double loss = Loss(after, r);
    EXPECT_LT(loss, 0.99 * Loss(before, r)) << r;
    EXPECT_NEAR(losses[r] + Size(r) / 2, loss, tolerance);
    for (std::size_t g = 0; g < after.groups(); ++g) {
      const float kept = after.scales(r, g);
      EXPECT_EQ(kept, RoundToF16(kept));
      for (const float factor : {1 + 0x1p-9F, 1 - 0x1p-9F}) {
        after.scales(r, g) = RoundToF16(kept * factor);
        EXPECT_GE(Loss(after, r), loss - tolerance) << r << ", " << g;
      }
      after.scales(r, g) = kept;
    }
  }
  EXPECT_TRUE(std::ranges::equal(before.codes.span(), after.codes.span()));
  EXPECT_TRUE(std::ranges::equal(before.zeros.span(), after.zeros.span()));
}

TEST_F(RefitScalesTest, FindsTheScalesThatTheWeightsWereMadeOf) {
  quant::QuantizedLinear linear = Rounded();
  for (std::size_t r = 0; r < kRows; ++r) {
    for (std::size_t k = 0; k < kIn; ++k) {
      const int steps = linear.codes(r, k) - linear.zeros(r, k / kGroup);
      weights_(r, k) = linear.scales(r, k / kGroup) * static_cast<float>(steps) / scale_[k];
    }
  }
  quant::QuantizedLinear found = Rounded();
  std::ranges::copy(linear.codes.span(), found.codes.span().begin());
  std::ranges::copy(linear.zeros.span(), found.zeros.span().begin());
  for (std::size_t i = 0; i < found.scales.size(); ++i) {
    found.scales.span()[i] = RoundToF16(linear.scales.span()[i] * (i % 2 == 0 ? 1.1F : 0.9F));
  }
  RefitScales(pool_, weights_, scale_, {gram_, added_}, found);
  for (std::size_t i = 0; i < found.scales.size(); ++i) {
    EXPECT_EQ(found.scales.span()[i], linear.scales.span()[i]) << i;
  }
}

TEST_F(RefitScalesTest, AGroupOfNothingKeepsItsScale) {
  quant::QuantizedLinear linear = Rounded();
  for (std::size_t k = 0; k < kGroup; ++k) linear.codes(0, k) = linear.zeros(0, 0);
  const float before = linear.scales(0, 0);
  RefitScales(pool_, weights_, scale_, {gram_, added_}, linear);
  EXPECT_EQ(linear.scales(0, 0), before);
}

}  // namespace
}  // namespace awq::search
