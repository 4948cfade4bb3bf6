#include "search/gptq.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "quant/group.h"
#include "search/awq.h"
#include "search/ranges.h"
#include "search/scale_search.h"
#include "search/test_matrices.h"

namespace awq::search {
namespace {

// Inputs that share a few directions, as activations do, with outlier channels.
SiteStatistics Correlated(ThreadPool& pool, std::size_t tokens, std::size_t in, unsigned seed) {
  const Matrix<float> directions = NormalMatrix(8, in, seed);
  const Matrix<float> mix = NormalMatrix(tokens, 8, seed + 1);
  Matrix<float> x = NormalMatrix(tokens, in, seed + 2);
  for (std::size_t t = 0; t < tokens; ++t) {
    for (std::size_t i = 0; i < in; ++i) {
      for (std::size_t k = 0; k < 8; ++k) x(t, i) += mix(t, k) * directions(k, i);
      if (i % 61 == 7) x(t, i) *= 20;
    }
  }
  StatisticsAccumulator accumulator(in);
  accumulator.Add(pool, x);
  return std::move(accumulator).Finish();
}

struct Feedback {
  quant::QuantizedLinear linear;
  double loss = 0;
};

Feedback RoundFull(ThreadPool& pool, const Matrix<float>& weights, const Scale& scale,
                   const GramFactor& factor, const quant::Spec& spec) {
  const Matrix<float> scaled = ScaledWeights(pool, weights, scale);
  Feedback result{MapsOf(pool, FullRanges(pool, scaled, spec), spec, weights.cols()), 0};
  const auto losses = RoundWithFeedback(pool, weights, scale, factor, result.linear);
  result.loss = std::accumulate(losses.begin(), losses.end(), 0.0);
  return result;
}

quant::QuantizedLinear RoundGptq(ThreadPool& pool, const Matrix<float>& weights,
                                 const GramFactor& factor, const quant::Spec& spec) {
  return RoundFull(pool, weights, Scale(weights.cols(), 1.0F), factor, spec).linear;
}

quant::QuantizedLinear RoundPlus(ThreadPool& pool, const Matrix<float>& weights,
                                 const GramFactor& factor, const quant::Spec& spec) {
  const Scale identity(weights.cols(), 1.0F);
  quant::QuantizedLinear linear =
      MapsOf(pool, SearchRanges(pool, weights, identity, factor.conditional_variances(), spec),
             spec, weights.cols());
  RoundWithFeedback(pool, weights, identity, factor, linear);
  return linear;
}

// L L^T is the damped, ordered matrix: each element is a sum of up to `n` products, fp32, of
// numbers below the root of the diagonal's product.
TEST(FactorGram, ItsSquareIsTheMatrix) {
  ThreadPool pool(2);
  for (const std::size_t n : {1U, 7U, 128U, 129U, 700U}) {
    const SiteStatistics statistics = Correlated(pool, 2 * n + 5, n, 3);
    const Matrix<float>& h = statistics.gram;
    const GramFactor factor = FactorGram(pool, h, 0.05);
    EXPECT_EQ(factor.damping, 0.05);
    double mean_root = 0;
    for (std::size_t i = 0; i < n; ++i) mean_root += std::sqrt(double{h(i, i)});
    mean_root /= static_cast<double>(n);
    for (std::size_t i = 0; i < n; ++i) {
      if (i > 0) {
        const float before = h(factor.order[i - 1], factor.order[i - 1]);
        EXPECT_LE(before, h(factor.order[i], factor.order[i]));
      }
      for (std::size_t j = 0; j <= i; ++j) {
        double product = 0;
        for (std::size_t k = 0; k <= j; ++k) {
          product +=
              static_cast<double>(factor.lower(i, k)) * static_cast<double>(factor.lower(j, k));
        }
        const auto at = [&](std::size_t a, std::size_t b) {
          return static_cast<double>(h(factor.order[a], factor.order[b])) +
                 (a == b ? 0.05 * mean_root * std::sqrt(double{h(factor.order[a], factor.order[a])})
                         : 0);
        };
        const double size = std::sqrt(at(i, i) * at(j, j));
        EXPECT_NEAR(product, at(i, j), size * 0x1p-24 * static_cast<double>(n + 8))
            << i << " " << j;
      }
    }
  }
}

// As published for GPTQ: one hundredth of the mean of the diagonal, alike for all channels; and the
// rule of tokens to width.
TEST(FactorGram, PublishedDamping) {
  ThreadPool pool(2);
  const SiteStatistics statistics = Correlated(pool, 300, 64, 3);
  double mean = 0;
  for (std::size_t i = 0; i < 64; ++i) mean += double{statistics.gram(i, i)} / 64;
  const GramFactor factor = FactorGram(pool, statistics.gram, 0.01, DampingForm::kMean);
  for (float added : factor.added) EXPECT_NEAR(double{added}, 0.01 * mean, 1e-6 * mean);
  EXPECT_DOUBLE_EQ(DampingFor(1000, 6000), 0.1);
  EXPECT_DOUBLE_EQ(DampingFor(1000, 1000000), 0.01);
  EXPECT_DOUBLE_EQ(DampingFor(1000, 100), 0.3);
}

TEST(FactorGram, NeverFails) {
  ThreadPool pool(2);
  // One token, a dead channel, all zeros, and one huge channel.
  SiteStatistics one = Correlated(pool, 1, 200, 5);
  for (std::size_t i = 0; i < 200; ++i) one.gram(3, i) = one.gram(i, 3) = 0;
  Matrix<float> zero(200, 200, 0.0F);
  SiteStatistics huge = Correlated(pool, 500, 200, 6);
  for (std::size_t i = 0; i < 200; ++i) {
    huge.gram(9, i) *= 1e6F;
    huge.gram(i, 9) *= 1e6F;
  }
  for (const Matrix<float>* gram : {&one.gram, &zero, &huge.gram}) {
    for (const double damping : {0.0, 0.01}) {
      const GramFactor factor = FactorGram(pool, *gram, damping);
      for (std::size_t i = 0; i < 200; ++i) {
        EXPECT_TRUE(std::isfinite(factor.lower(i, i)) && factor.lower(i, i) > 0);
      }
    }
  }
}

// The published algorithm, in doubles: the inverse's upper Cholesky factor, columns in the same
// order, each error spread over the columns to come.
std::vector<std::uint8_t> ReferenceCodes(const Matrix<float>& weights, const GramFactor& factor,
                                         const quant::QuantizedLinear& maps) {
  const std::size_t n = weights.cols();
  // H in rounding order is B = J L L^T J; with L lower, U = (J L J)^-1 is upper triangular and
  // B^-1 = U^T U.
  Matrix<double> v(n, n, 0.0);
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j <= i; ++j) {
      v(n - 1 - i, n - 1 - j) = static_cast<double>(factor.lower(i, j));
    }
  }
  Matrix<double> u(n, n, 0.0);
  for (std::size_t j = 0; j < n; ++j) {
    u(j, j) = 1 / v(j, j);
    for (std::size_t i = j; i-- > 0;) {
      double sum = 0;
      for (std::size_t k = i + 1; k <= j; ++k) sum += v(i, k) * u(k, j);
      u(i, j) = -sum / v(i, i);
    }
  }
  std::vector<std::uint8_t> codes(weights.size());
  for (std::size_t r = 0; r < weights.rows(); ++r) {
    std::vector<double> w(n);
    for (std::size_t p = 0; p < n; ++p) {
      w[p] = static_cast<double>(weights(r, factor.order[n - 1 - p]));
    }
    for (std::size_t p = 0; p < n; ++p) {
      const std::size_t channel = factor.order[n - 1 - p];
      const std::size_t group = channel / maps.spec.group_size;
      const auto scale = static_cast<double>(maps.scales(r, group));
      const auto zero = static_cast<double>(maps.zeros(r, group));
      const double code = std::clamp(std::nearbyint(w[p] / scale) + zero, 0.0,
                                     static_cast<double>(maps.spec.max_code()));
      codes[r * n + channel] = static_cast<std::uint8_t>(code);
      const double error = (w[p] - (code - zero) * scale) / u(p, p);
      for (std::size_t q = p; q < n; ++q) w[q] -= error * u(p, q);
    }
  }
  return codes;
}

TEST(RoundWithFeedback, IsThePublishedGptq) {
  ThreadPool pool(2);
  for (const std::size_t in : {36U, 64U, 172U, 192U, 320U}) {
    for (const bool symmetric : {false, true}) {
      const quant::Spec spec{3, in % 32 == 0 ? std::size_t{32} : std::size_t{4}, symmetric};
      const Matrix<float> weights = NormalMatrix(70, in, 9);
      const SiteStatistics statistics = Correlated(pool, 2 * in, in, 11);
      const GramFactor factor = FactorGram(pool, statistics.gram, 0.01);
      const quant::QuantizedLinear linear = RoundGptq(pool, weights, factor, spec);
      const auto want = ReferenceCodes(weights, factor, linear);
      // Where fp32 and fp64 round a value near a tie apart, the rest of that row may follow: few
      // rows do.
      std::size_t other_rows = 0;
      for (std::size_t r = 0; r < weights.rows(); ++r) {
        other_rows += !std::equal(linear.codes.row(r), linear.codes.row(r) + in, &want[r * in]);
      }
      EXPECT_LE(other_rows, weights.rows() / 10) << in;
    }
  }
}

// tr(D H D^T) comes out of the rounding itself: the damped sum less the damping, both fp32 sums of
// `in` terms. A scale's effect is that of rounding W diag(s) under diag(1/s) (H + added) diag(1/s).
TEST(RoundWithFeedback, ItsLossIsTheOutputError) {
  ThreadPool pool(2);
  const std::size_t in = 320;
  const quant::Spec spec{4, 32, false};
  const Matrix<float> weights = NormalMatrix(70, in, 9);
  const SiteStatistics statistics = Correlated(pool, 2 * in, in, 11);
  const GramFactor factor = FactorGram(pool, statistics.gram, 0.01);
  for (const double alpha : {0.0, 0.4}) {
    const Scale scale = ActivationScale(statistics.mean_abs, alpha);
    const Feedback found = RoundFull(pool, weights, scale, factor, spec);
    Matrix<float> gram(in, in);
    ScaleGram(pool, scale, statistics.gram, gram);
    const double error =
        MeasureOutputError(pool, ScaledWeights(pool, weights, scale), found.linear, gram);
    EXPECT_NEAR(found.loss, error, 1e-4 * error) << alpha;
  }
}

// X (H + added I) gives the rows back: backward stable, so within a few units in the last place
// times the matrix's condition, here at most its trace over `added`.
TEST(SolveRows, SolvesTheDampedSystem) {
  ThreadPool pool(2);
  for (const std::size_t in : {5U, 128U, 300U}) {
    const SiteStatistics statistics = Correlated(pool, 2 * in, in, 17);
    const GramFactor factor = FactorGram(pool, statistics.gram, 0.1);
    const Matrix<float> rows = NormalMatrix(300, in, 18);
    Matrix<float> solved = NormalMatrix(300, in, 18);
    SolveRows(pool, factor, solved);
    double size = 0;
    for (std::size_t i = 0; i < in; ++i) size = std::max(size, double{statistics.gram(i, i)});
    for (std::size_t r = 0; r < rows.rows(); r += 7) {
      double norm = 0;
      for (std::size_t i = 0; i < in; ++i) norm += std::abs(double{solved(r, i)});
      for (std::size_t j = 0; j < in; ++j) {
        double product = double{factor.added[j]} * double{solved(r, j)};
        for (std::size_t i = 0; i < in; ++i) {
          product += double{solved(r, i)} * double{statistics.gram(i, j)};
        }
        const double tolerance = 0x1p-24 * static_cast<double>(in) * norm * size;
        EXPECT_NEAR(product, double{rows(r, j)}, tolerance) << in << " " << r << " " << j;
      }
    }
  }
}

TEST(RoundWithFeedback, LeavesLessThanRoundingToNearest) {
  ThreadPool pool(2);
  const quant::Spec spec{4, 64, false};
  const Matrix<float> weights = NormalMatrix(40, 256, 1);
  const SiteStatistics statistics = Correlated(pool, 1000, 256, 2);
  const GramFactor factor = FactorGram(pool, statistics.gram, 0.01);
  const double nearest =
      MeasureOutputError(pool, weights, Round(pool, weights, spec), statistics.gram);
  const double gptq =
      MeasureOutputError(pool, weights, RoundGptq(pool, weights, factor, spec), statistics.gram);
  const double plus =
      MeasureOutputError(pool, weights, RoundPlus(pool, weights, factor, spec), statistics.gram);
  EXPECT_LT(gptq, 0.7 * nearest);
  EXPECT_LT(plus, gptq);
}

TEST(RoundWithFeedback, DoesNotDependOnThreads) {
  const quant::Spec spec{4, 64, false};
  const Matrix<float> weights = NormalMatrix(200, 640, 1);
  ThreadPool one(1);
  const SiteStatistics statistics = Correlated(one, 900, 640, 2);
  const auto round = [&](ThreadPool& pool) {
    const GramFactor factor = FactorGram(pool, statistics.gram, 0.02);
    return RoundPlus(pool, weights, factor, spec);
  };
  const quant::QuantizedLinear first = round(one);
  for (const std::size_t threads : {2U, 3U, 8U}) {
    ThreadPool pool(threads);
    const quant::QuantizedLinear other = round(pool);
    EXPECT_TRUE(std::ranges::equal(first.codes.span(), other.codes.span()));
    EXPECT_TRUE(std::ranges::equal(first.zeros.span(), other.zeros.span()));
  }
}

// Groups of one sign, of equal weights, of zeros; channels without any input.
TEST(RoundWithFeedback, OddGroupsAreSound) {
  ThreadPool pool(2);
  for (const bool symmetric : {false, true}) {
    const quant::Spec spec{4, 32, symmetric};
    Matrix<float> weights = NormalMatrix(6, 128, 3);
    for (std::size_t i = 0; i < 128; ++i) {
      weights(0, i) = 0;
      weights(1, i) = 0.25F;
      weights(2, i) = -std::abs(weights(2, i));
      weights(3, i) = std::abs(weights(3, i)) + 5;
      weights(4, i) = i % 32 == 0 ? 100.0F : 1e-6F;
    }
    SiteStatistics statistics = Correlated(pool, 40, 128, 4);
    for (std::size_t i = 0; i < 128; ++i) statistics.gram(5, i) = statistics.gram(i, 5) = 0;
    const GramFactor factor = FactorGram(pool, statistics.gram, DampingFor(128, 40));
    const quant::QuantizedLinear linear = RoundPlus(pool, weights, factor, spec);
    Matrix<float> restored(6, 128);
    quant::Dequantize(linear, 0, restored);
    for (std::size_t i = 0; i < 128; ++i) {
      EXPECT_EQ(restored(0, i), 0);
      EXPECT_TRUE(std::isfinite(restored(4, i)));
    }
    const double error = MeasureOutputError(pool, weights, linear, statistics.gram);
    EXPECT_LE(error, 1.01 * MeasureOutputError(pool, weights, Round(pool, weights, spec),
                                               statistics.gram));
  }
}

}  // namespace
}  // namespace awq::search
