#include "search/awq_plus.h"

#include <gtest/gtest.h>

#include <cmath>

#include "quant/group.h"
#include "search/awq.h"
#include "search/ranges.h"
#include "search/test_matrices.h"

namespace awq::search {
namespace {

SiteStatistics Gathered(ThreadPool& pool, std::size_t tokens, std::size_t in, unsigned seed) {
  Matrix<float> x = NormalMatrix(tokens, in, seed);
  for (std::size_t t = 0; t < tokens; ++t) {
    for (std::size_t i = 3; i < in; i += 17) x(t, i) *= 12;
  }
  StatisticsAccumulator accumulator(in);
  accumulator.Add(pool, x);
  return std::move(accumulator).Finish();
}

double GroupLoss(const quant::GroupQuantizer& quantizer, const quant::GroupRange& range,
                 const float* w, std::size_t n, const Matrix<float>& gram, std::size_t first) {
  std::vector<float> residual(n);
  quantizer.Residual(quantizer.MapOf(range), w, n, residual.data());
  double loss = 0;
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j < n; ++j) {
      loss += static_cast<double>(residual[i]) * static_cast<double>(residual[j]) *
              static_cast<double>(gram(first + i, first + j));
    }
  }
  return loss;
}

// Each end takes the best of its sweep: no single ratio of both ends, and no other ratio of the
// lower end, is better. (fp32 products against fp64: 2^-24 of sums of 32 x 32 terms.)
TEST(SearchRanges, NoOtherRatioIsBetter) {
  ThreadPool pool(2);
  const std::size_t n = 32;
  const SiteStatistics statistics = Gathered(pool, 300, 96, 1);
  const Matrix<float> weights = NormalMatrix(20, 96, 2);
  for (const bool symmetric : {false, true}) {
    const quant::Spec spec{3, n, symmetric};
    const quant::GroupQuantizer quantizer(spec);
    const GroupRanges full = FullRanges(pool, weights, spec);
    const GroupRanges found = SearchRanges(pool, weights, statistics.gram, spec);
    std::size_t moved = 0;
    for (std::size_t r = 0; r < 20; ++r) {
      for (std::size_t g = 0; g < 3; ++g) {
        EXPECT_LE(found.lo(r, g), 0);
        EXPECT_GE(found.hi(r, g), 0);
        EXPECT_GE(found.lo(r, g), full.lo(r, g));
        EXPECT_LE(found.hi(r, g), full.hi(r, g));
        moved += found.hi(r, g) < full.hi(r, g);
        const auto loss = [&](float lo, float hi) {
          return GroupLoss(quantizer, {lo, hi}, weights.row(r) + g * n, n, statistics.gram, g * n);
        };
        const double best = loss(found.lo(r, g), found.hi(r, g)) * (1 - 1e-5);
        for (int k = 0; k < 16; ++k) {
          const auto ratio = static_cast<float>(1 - 0.04 * k);
          EXPECT_LE(best, loss(full.lo(r, g) * ratio, full.hi(r, g) * ratio)) << k;
        }
      }
    }
    EXPECT_GT(moved, 10U) << "clipping pays at 3 bits";
  }
}

TEST(TwoExponents, ZeroIsTheIdentityAndProfilesAreShares) {
  ThreadPool pool(2);
  Matrix<float> weights(3, 64, 0.0F);
  for (std::size_t i = 0; i < 64; ++i) {
    weights(0, i) = i % 32 == 5 ? 2.0F : 1.0F;
    weights(1, i) = i % 32 == 5 ? -4.0F : 1.0F;
  }
  const MatrixView<const float> view = weights;
  const std::vector<float> profile = WeightProfile(pool, {{&view, 1}, {4, 32, false}});
  EXPECT_FLOAT_EQ(profile[5], 2.0F / 3);
  EXPECT_FLOAT_EQ(profile[6], 0.75F / 3);
  const SiteStatistics statistics = Gathered(pool, 100, 64, 3);
  for (float s : TwoExponentScale(statistics.mean_abs, profile, {})) EXPECT_EQ(s, 1);
  const Scale activation = TwoExponentScale(statistics.mean_abs, profile, {0.5, 0});
  EXPECT_EQ(activation, ActivationScale(statistics.mean_abs, 0.5));
  const Scale held_back = TwoExponentScale(statistics.mean_abs, profile, {0.5, 1});
  EXPECT_LT(held_back[5] / held_back[6], activation[5] / activation[6]);
}

TEST(SearchPlusScale, IsNeverWorseThanTheIdentity) {
  ThreadPool pool(2);
  for (const std::size_t in : {96U, 1056U}) {  // without a sketch and with one
    const SiteStatistics statistics = Gathered(pool, 2 * in, in, 4);
    const Matrix<float> a = NormalMatrix(24, in, 5);
    const Matrix<float> b = NormalMatrix(9, in, 6);
    const std::vector<MatrixView<const float>> views = {a.view(), b.view()};
    const PlusScale found = SearchPlusScale(pool, {views, {3, 32, false}}, statistics);
    EXPECT_LT(found.loss, found.identity_loss);
    EXPECT_GT(found.choice.exponents.activation, 0) << "there are outlier channels";
    const auto few = TwoExponentCandidates(pool, {views, {3, 32, false}}, statistics, 4);
    EXPECT_EQ(few.size(), 4U);
  }
}

}  // namespace
}  // namespace awq::search
