#include "search/awq.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "quant/group.h"
#include "search/gram_loss.h"
#include "search/scale_search.h"

namespace awq::search {
namespace {

double D(float x) { return static_cast<double>(x); }

template <class T>
bool SameBits(const Matrix<T>& a, const Matrix<T>& b) {
  return a.rows() == b.rows() && a.cols() == b.cols() &&
         std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

Matrix<float> RandomMatrix(std::size_t rows, std::size_t cols, unsigned seed) {
  Matrix<float> m(rows, cols);
  std::mt19937 random(seed);
  std::student_t_distribution<float> heavy(5);
  for (float& x : m.span()) x = heavy(random) * 0.05F;
  return m;
}

// Correlated inputs with a few outlier channels, as in real models.
Matrix<float> RandomInputs(std::size_t tokens, std::size_t features, unsigned seed) {
  const Matrix<float> mix = RandomMatrix(8, features, seed + 1);
  Matrix<float> x = RandomMatrix(tokens, features, seed);
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  for (std::size_t t = 0; t < tokens; ++t) {
    for (std::size_t k = 0; k < mix.rows(); ++k) {
      const float weight = normal(random);
      for (std::size_t i = 0; i < features; ++i) x(t, i) += weight * mix(k, i);
    }
    for (std::size_t i = 3; i < features; i += 97) x(t, i) *= 40;
  }
  return x;
}

SiteStatistics Gather(MatrixView<const float> x) {
  ThreadPool pool(2);
  StatisticsAccumulator accumulator(x.cols);
  accumulator.Add(pool, x);
  return std::move(accumulator).Finish();
}

// sum d H d^T in double, and a bound on what float arithmetic may lose: every product d_i H_ij d_j
// passes at most `features` + 20 roundings, each 2^-24 of the magnitudes that are added.
struct NaiveLoss {
  double loss = 0;
  double rounding = 0;
};
NaiveLoss Naive(MatrixView<const float> d, MatrixView<const float> gram) {
  NaiveLoss result;
  double magnitude = 0;
  for (std::size_t r = 0; r < d.rows; ++r) {
    for (std::size_t i = 0; i < d.cols; ++i) {
      for (std::size_t j = 0; j < d.cols; ++j) {
        const double term = D(d(r, i)) * D(gram(i, j)) * D(d(r, j));
        result.loss += term;
        magnitude += std::abs(term);
      }
    }
  }
  result.rounding = magnitude * static_cast<double>(d.cols + 20) * 0x1p-24;
  return result;
}

TEST(GramLoss, IsTheQuadraticForm) {
  ThreadPool pool(2);
  for (auto [rows, features] : {std::pair<std::size_t, std::size_t>{1, 1},
                                {5, 37},
                                {40, 256},
                                {3, 257},
                                {70, 300},
                                {2, 523}}) {
    const SiteStatistics statistics = Gather(RandomInputs(2 * features, features, 3));
    const Matrix<float> d = RandomMatrix(rows, features, 4);
    const auto fill = [&, n = features](std::size_t row, float* out) {
      std::memcpy(out, d.row(row), n * sizeof(float));
    };
    const NaiveLoss want = Naive(d, statistics.gram);
    EXPECT_NEAR(GramLoss(pool, rows, fill, statistics.gram), want.loss, want.rounding)
        << rows << " x " << features;
  }
}

// More rows than one block holds.
TEST(GramLoss, ManyBlocksOfRows) {
  ThreadPool pool(2);
  constexpr std::size_t kFeatures = 64;
  const std::size_t rows = 2 * ((std::size_t{32} << 20) / sizeof(float) / kFeatures) + 77;
  Matrix<float> gram(kFeatures, kFeatures, 0.0F);
  for (std::size_t i = 0; i < kFeatures; ++i) gram(i, i) = 1;
  const auto fill = [&](std::size_t, float* d) { std::fill_n(d, kFeatures, 0.5F); };
  EXPECT_EQ(GramLoss(pool, rows, fill, gram), static_cast<double>(rows) * kFeatures * 0.25);
}

TEST(GramLoss, GroupLossesAreTheDiagonalBlocks) {
  ThreadPool pool(3);
  constexpr std::size_t kGroup = 24;
  constexpr std::size_t kRows = 301;
  const SiteStatistics statistics = Gather(RandomInputs(100, 3 * kGroup, 5));
  const Matrix<float> w = RandomMatrix(kRows, 3 * kGroup, 6);
  std::vector<int> seen(kRows * 3);
  ForEachGroupLoss(
      pool, kRows, 2,
      [&](std::size_t row, std::size_t group, float* residuals) {
        for (std::size_t i = 0; i < kGroup; ++i) {
          residuals[i] = w(row, group * kGroup + i);
          residuals[kGroup + i] = 2 * residuals[i];
        }
      },
      [&](std::size_t row, std::size_t group, std::span<const double> losses) {
        ++seen[row * 3 + group];
        const std::size_t first = group * kGroup;
        const NaiveLoss want =
            Naive(w.view().Cols(first, kGroup).Rows(row, 1),
                  statistics.gram.view().Cols(first, kGroup).Rows(first, kGroup));
        EXPECT_NEAR(losses[0], want.loss, want.rounding);
        EXPECT_EQ(losses[1], 4 * losses[0]);
      },
      kGroup, statistics.gram);
  EXPECT_EQ(std::count(seen.begin(), seen.end(), 1), static_cast<std::ptrdiff_t>(seen.size()));
}

struct Problem {
  SiteStatistics statistics;
  std::vector<Matrix<float>> weights;
  std::vector<MatrixView<const float>> views;

  Problem(std::size_t tokens, std::size_t features, const std::vector<std::size_t>& outs)
      : statistics(Gather(RandomInputs(tokens, features, 21))) {
    for (std::size_t out : outs) {
      weights.push_back(RandomMatrix(out, features, static_cast<unsigned>(out)));
    }
    for (const auto& w : weights) views.push_back(w);
  }
};

TEST(SearchScale, ReportsTheExactLossOfItsChoice) {
  ThreadPool pool(2);
  const Problem problem(200, 256, {40, 9});
  const quant::Spec spec{3, 64, false};
  const ScaleChoice choice = SearchScale(pool, problem.views, problem.statistics, spec);
  EXPECT_EQ(choice.exact_evaluations, 20U);
  EXPECT_GT(choice.alpha, 0) << "there are outlier channels";
  EXPECT_LT(choice.loss, choice.identity_loss / 2);
  EXPECT_EQ(choice.scale, ActivationScale(problem.statistics.mean_abs, choice.alpha));
  const quant::GroupQuantizer quantizer(spec);
  NaiveLoss want;
  for (const auto& w : problem.views) {
    Matrix<float> d(w.rows, w.cols);
    for (std::size_t r = 0; r < w.rows; ++r) {
      quantizer.ScaledResidual(w.row(r), choice.scale.data(), w.cols, d.row(r));
    }
    const NaiveLoss one = Naive(d, problem.statistics.gram);
    want.loss += one.loss;
    want.rounding += one.rounding;
  }
  EXPECT_NEAR(choice.loss, want.loss, want.rounding);
  for (std::size_t k = 0; k < 20; ++k) {
    const Scale scale = ActivationScale(problem.statistics.mean_abs, static_cast<double>(k) / 20);
    EXPECT_GE(ExactScaleLoss(pool, {problem.views, spec}, scale, problem.statistics.gram),
              choice.loss);
  }
}

TEST(SearchScale, ScreeningOnTheSketchFindsTheExactChoice) {
  ThreadPool pool(2);
  const Problem problem(600, 1152, {130, 64});
  const quant::Spec spec{4, 128, false};
  const ScaleChoice screened = SearchScale(pool, problem.views, problem.statistics, spec);
  EXPECT_LE(screened.exact_evaluations, 4U);
  const ScaleChoice exact =
      SearchScale(pool, problem.views, problem.statistics, spec, {.exact_below = 1 << 20});
  EXPECT_EQ(exact.exact_evaluations, 20U);
  EXPECT_EQ(screened.identity_loss, exact.identity_loss);
  // Neighbours on the grid differ by less than the sketch sees; what counts is what is lost.
  EXPECT_LE(screened.loss, exact.loss * 1.005);
}

// Columns of zeros, as a padded model has them, that are never active.
TEST(SearchScale, ChannelsThatNothingReadsDecideNothing) {
  ThreadPool pool(2);
  const Problem problem(200, 128, {40, 9});
  const Matrix<float> inputs = RandomInputs(200, 128, 21);
  Matrix<float> wide_inputs(200, 192, 0.0F);
  for (std::size_t t = 0; t < 200; ++t) std::copy_n(inputs.row(t), 128, wide_inputs.row(t));
  std::vector<Matrix<float>> wide;
  std::vector<MatrixView<const float>> views;
  for (const auto& weights : problem.views) {
    wide.emplace_back(weights.rows, 192, 0.0F);
    for (std::size_t r = 0; r < weights.rows; ++r)
      std::copy_n(weights.row(r), 128, wide.back().row(r));
  }
  for (const auto& each : wide) views.push_back(each);
  const SiteStatistics statistics = Gather(wide_inputs);
  const quant::Spec spec{3, 64, false};
  const ScaleChoice narrow = SearchScale(pool, problem.views, problem.statistics, spec);
  const ScaleChoice found = SearchScale(pool, views, statistics, spec);
  EXPECT_GT(narrow.alpha, 0);
  EXPECT_EQ(found.alpha, narrow.alpha);
  EXPECT_TRUE(std::equal(narrow.scale.begin(), narrow.scale.end(), found.scale.begin()));
  // Were they read, they would have the least scale, and the others another middle.
  EXPECT_NE(ActivationScale(statistics.mean_abs, narrow.alpha)[0], narrow.scale[0]);
}

TEST(SearchScale, IdentityIsExactlyOne) {
  for (float s : ActivationScale(std::vector<float>{0, 1e-20F, 3, 1e20F}, 0)) EXPECT_EQ(s, 1);
}

TEST(SearchScale, ScalesStayNormalHalves) {
  for (double alpha : {0.05, 0.5, 0.95}) {
    for (float s : ActivationScale(std::vector<float>{0, 1e-30F, 1, 3e38F}, alpha)) {
      EXPECT_GE(s, 0x1p-14F);
      EXPECT_LE(s, 65504);
      EXPECT_EQ(s, RoundToF16(s));
    }
  }
}

// Dead channels, a constant channel, a dead row, groups of equal weights, a single token.
TEST(Search, DegenerateProblemsAreSound) {
  ThreadPool pool(2);
  for (std::size_t tokens : {1U, 50U}) {
    for (bool symmetric : {false, true}) {
      Matrix<float> x = RandomInputs(tokens, 128, 2);
      Matrix<float> w = RandomMatrix(6, 128, 3);
      for (std::size_t t = 0; t < tokens; ++t) {
        for (std::size_t i = 0; i < 40; ++i) x(t, i) = 0;
        x(t, 50) = 7;
      }
      std::fill_n(w.row(1), 128, 0.0F);
      std::fill_n(w.row(2), 128, 0.125F);
      std::fill_n(w.row(3), 128, -0.125F);
      std::fill_n(w.row(4), 128, 1e-12F);
      SiteStatistics statistics = Gather(x);
      const quant::Spec spec{4, 32, symmetric};
      const MatrixView<const float> view = w;
      const ScaleChoice choice = SearchScale(pool, {&view, 1}, statistics, spec);
      EXPECT_LE(choice.loss, choice.identity_loss);
      for (float s : choice.scale) EXPECT_GT(s, 0);
      const Clip clip = SearchClip(pool, w, statistics.gram, spec);
      const quant::QuantizedLinear linear = Round(pool, w, spec, &clip);
      for (std::uint8_t code : linear.codes.span()) EXPECT_LE(code, 15);
      for (float scale : linear.scales.span()) EXPECT_GT(scale, 0);
      Matrix<float> restored(6, 128);
      quant::Dequantize(linear, 0, restored);
      for (std::size_t i = 0; i < 128; ++i) EXPECT_EQ(restored(1, i), 0) << "a dead row stays dead";
      for (std::size_t g = 0; g < 4; ++g) EXPECT_EQ(clip.choice(1, g), 0) << "nothing to clip";
      const double error = MeasureOutputError(pool, w, linear, statistics.gram);
      EXPECT_TRUE(std::isfinite(error));
    }
  }
}

TEST(Search, InputsThatAreAllZeroChooseTheIdentity) {
  ThreadPool pool(2);
  const SiteStatistics statistics = Gather(Matrix<float>(10, 64, 0.0F));
  const Matrix<float> w = RandomMatrix(6, 64, 3);
  const MatrixView<const float> view = w;
  const ScaleChoice choice = SearchScale(pool, {&view, 1}, statistics, {4, 32, false});
  EXPECT_EQ(choice.alpha, 0);
  EXPECT_EQ(choice.loss, 0);
  for (float s : choice.scale) EXPECT_EQ(s, 1);
  const Clip clip = SearchClip(pool, w, statistics.gram, {4, 32, false});
  for (std::uint8_t k : clip.choice.span()) EXPECT_EQ(k, 0);
}

// A site whose statistics are broken must not crash; the caller has nonfinite() to report it.
TEST(Search, NonFiniteStatisticsFallBackToTheIdentity) {
  ThreadPool pool(2);
  Matrix<float> x = RandomInputs(30, 1152, 2);
  for (std::size_t i = 0; i < x.cols(); ++i) x(4, i) = std::nanf("");
  const SiteStatistics statistics = Gather(x);
  const Matrix<float> w = RandomMatrix(6, 1152, 3);
  const MatrixView<const float> view = w;
  EXPECT_EQ(SearchScale(pool, {&view, 1}, statistics, {4, 128, false}).alpha, 0);
}

TEST(SearchClip, TakesTheFirstBestOfTen) {
  ThreadPool pool(2);
  const SiteStatistics statistics = Gather(RandomInputs(150, 96, 8));
  const Matrix<float> w = RandomMatrix(60, 96, 9);
  for (bool symmetric : {false, true}) {
    const quant::Spec spec{3, 32, symmetric};
    const quant::GroupQuantizer quantizer(spec);
    const Clip clip = SearchClip(pool, w, statistics.gram, spec);
    std::size_t clipped = 0;
    for (std::size_t row = 0; row < w.rows(); ++row) {
      for (std::size_t g = 0; g < 3; ++g) {
        const float* group = w.row(row) + g * 32;
        float largest = 0;
        for (std::size_t i = 0; i < 32; ++i) largest = std::max(largest, std::abs(group[i]));
        std::vector<NaiveLoss> losses;
        for (int k = 0; k < 10; ++k) {
          const float bound = largest * static_cast<float>(1 - k / 20.0);
          Matrix<float> d(1, 32);
          quantizer.Residual(quantizer.MapOf(quantizer.Range(group, 32), bound), group, 32,
                             d.data());
          losses.push_back(Naive(d, statistics.gram.view().Cols(g * 32, 32).Rows(g * 32, 32)));
        }
        const std::size_t chosen = clip.choice(row, g);
        for (const NaiveLoss& other : losses) {
          EXPECT_LE(losses[chosen].loss, other.loss + other.rounding + losses[chosen].rounding);
        }
        EXPECT_EQ(clip.bound(row, g),
                  largest * static_cast<float>(1 - static_cast<double>(chosen) / 20.0));
        clipped += chosen > 0;
      }
    }
    EXPECT_GT(clipped, 60U) << "at 3 bits most groups of a heavy-tailed weight gain by clipping";
  }
}

TEST(Round, IsTheGroupArithmetic) {
  ThreadPool pool(2);
  const Matrix<float> w = RandomMatrix(33, 96, 9);
  const quant::Spec spec{4, 32, false};
  const quant::GroupQuantizer quantizer(spec);
  Clip clip{Matrix<float>(33, 3, 0.04F), Matrix<std::uint8_t>(33, 3, 5)};
  for (const Clip* used : {static_cast<const Clip*>(nullptr), static_cast<const Clip*>(&clip)}) {
    const quant::QuantizedLinear linear = Round(pool, w, spec, used);
    EXPECT_EQ(linear.spec, spec);
    Matrix<float> restored(33, 96);
    quant::Dequantize(linear, 0, restored);
    for (std::size_t row = 0; row < 33; ++row) {
      for (std::size_t g = 0; g < 3; ++g) {
        const float* group = w.row(row) + g * 32;
        const auto map =
            quantizer.MapOf(quantizer.Range(group, 32), used == nullptr ? quant::kNoBound : 0.04F);
        EXPECT_EQ(linear.scales(row, g), map.scale);
        EXPECT_EQ(static_cast<float>(linear.zeros(row, g)), map.zero);
        std::vector<float> residual(32);
        quantizer.Residual(map, group, 32, residual.data());
        for (std::size_t i = 0; i < 32; ++i) {
          EXPECT_EQ(group[i] - restored(row, g * 32 + i), residual[i]);
        }
      }
    }
  }
}

// tr(D H D^T) is the same in the scaled problem: W s, H / (s s^T).
TEST(ScaleStatistics, LossesDoNotChange) {
  ThreadPool pool(2);
  Problem problem(200, 256, {40});
  const quant::Spec spec{4, 64, false};
  const ScaleChoice choice = SearchScale(pool, problem.views, problem.statistics, spec);
  Matrix<float> scaled(40, 256);
  for (std::size_t r = 0; r < 40; ++r) {
    for (std::size_t i = 0; i < 256; ++i) {
      scaled(r, i) = problem.weights[0](r, i) * choice.scale[i];
    }
  }
  ScaleStatistics(pool, choice.scale, problem.statistics);
  const Matrix<float>& gram = problem.statistics.gram;
  for (std::size_t i = 0; i < 256; ++i) {
    for (std::size_t j = 0; j < i; ++j) ASSERT_EQ(gram(i, j), gram(j, i));
  }
  const double error = MeasureOutputError(pool, scaled, Round(pool, scaled, spec), gram);
  // A few roundings of weights and of H, 2^-24 of the terms, which exceed the loss tenfold at most.
  EXPECT_NEAR(error / choice.loss, 1, 1e-4);
}

// Coarse to fine on the sketch finds what looking at every alpha on it finds.
TEST(EstimateScale, IsTheBestOfTheGridOnTheSketch) {
  ThreadPool pool(2);
  for (const std::size_t rows : {40U, 300U}) {
    const Problem problem(600, 1152, {rows});
    const quant::Spec spec{3, 128, false};
    std::vector<Scale> grid;
    for (int k = 0; k < 20; ++k) {
      grid.push_back(ActivationScale(problem.statistics.mean_abs, k / 20.0));
    }
    const std::vector<double> losses =
        SketchScaleLosses(pool, {problem.views, spec}, grid, problem.statistics.sketch);
    const ScaleChoice found = EstimateScale(pool, problem.views, problem.statistics, spec);
    EXPECT_EQ(found.loss, std::ranges::min(losses));
    EXPECT_EQ(found.identity_loss, losses[0]);
    EXPECT_EQ(found.scale, grid[static_cast<std::size_t>(found.alpha * 20 + 0.5)]);
  }
}

TEST(Search, DoesNotDependOnThreads) {
  const Problem problem(300, 1152, {300, 77});
  const quant::Spec spec{3, 128, false};
  ThreadPool one(1);
  const ScaleChoice scale = SearchScale(one, problem.views, problem.statistics, spec);
  const Clip clip = SearchClip(one, problem.weights[0], problem.statistics.gram, spec);
  const quant::QuantizedLinear linear = Round(one, problem.weights[0], spec, &clip);
  const double error = MeasureOutputError(one, problem.weights[0], linear, problem.statistics.gram);
  const std::vector<Scale> scales = {scale.scale,
                                     ActivationScale(problem.statistics.mean_abs, 0.3)};
  const std::vector<double> estimates =
      SketchScaleLosses(one, {problem.views, spec}, scales, problem.statistics.sketch);
  for (std::size_t threads : {2U, 3U, 8U}) {
    ThreadPool pool(threads);
    const ScaleChoice other = SearchScale(pool, problem.views, problem.statistics, spec);
    EXPECT_EQ(other.scale, scale.scale);
    EXPECT_EQ(other.loss, scale.loss);
    EXPECT_EQ(other.identity_loss, scale.identity_loss);
    EXPECT_EQ(SketchScaleLosses(pool, {problem.views, spec}, scales, problem.statistics.sketch),
              estimates);
    const Clip other_clip = SearchClip(pool, problem.weights[0], problem.statistics.gram, spec);
    EXPECT_TRUE(SameBits(other_clip.bound, clip.bound));
    EXPECT_TRUE(SameBits(other_clip.choice, clip.choice));
    const auto other_linear = Round(pool, problem.weights[0], spec, &clip);
    EXPECT_TRUE(SameBits(other_linear.codes, linear.codes));
    EXPECT_TRUE(SameBits(other_linear.zeros, linear.zeros));
    EXPECT_EQ(MeasureOutputError(pool, problem.weights[0], linear, problem.statistics.gram), error);
  }
}

}  // namespace
}  // namespace awq::search
