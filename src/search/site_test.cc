#include "search/site.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "quant/group.h"
#include "search/awq.h"
#include "search/gram_factor.h"
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
                 const float* w, std::size_t n, const float* importance, const float* scale) {
  std::vector<float> residual(n);
  quantizer.Residual(quantizer.MapOf(range), w, n, residual.data());
  double loss = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const double error = double{residual[i]} / double{scale[i]};
    loss += double{importance[i]} * error * error;
  }
  return loss;
}

// Each end takes the best of its sweep: no single ratio of both ends is better. (fp32 sums of 32
// squares against fp64.)
TEST(SearchRanges, NoOtherRatioIsBetter) {
  ThreadPool pool(2);
  const std::size_t n = 32;
  const SiteStatistics statistics = Gathered(pool, 300, 96, 1);
  const std::vector<float> importance =
      FactorGram(pool, statistics.gram, 0.1).conditional_variances();
  const Scale scale = ActivationScale(statistics.mean_abs, 0.3);
  const Matrix<float> weights = ScaledWeights(pool, NormalMatrix(20, 96, 2), scale);
  for (const bool symmetric : {false, true}) {
    const quant::Spec spec{3, n, symmetric};
    const quant::GroupQuantizer quantizer(spec);
    const GroupRanges full = FullRanges(pool, weights, spec);
    const GroupRanges found = SearchRanges(pool, weights, scale, importance, spec);
    std::size_t moved = 0;
    for (std::size_t r = 0; r < 20; ++r) {
      for (std::size_t g = 0; g < 3; ++g) {
        EXPECT_LE(found.lo(r, g), 0);
        EXPECT_GE(found.hi(r, g), 0);
        EXPECT_GE(found.lo(r, g), full.lo(r, g));
        EXPECT_LE(found.hi(r, g), full.hi(r, g));
        moved += found.hi(r, g) < full.hi(r, g);
        const auto loss = [&](float lo, float hi) {
          return GroupLoss(quantizer, {lo, hi}, weights.row(r) + g * n, n, &importance[g * n],
                           &scale[g * n]);
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

TEST(TwoExponents, ChannelsThatNothingReadsDecideNothing) {
  const Exponents exponents{0.3, 0.5};
  const std::vector<float> means = {0.5F, 2, 0.1F};
  const std::vector<float> profile = {0.2F, 0.9F, 0.4F};
  const Scale want = TwoExponentScale(means, profile, exponents);
  const Scale found = TwoExponentScale(std::vector<float>{0.5F, 2, 0.1F, 0, 1e4F},
                                       std::vector<float>{0.2F, 0.9F, 0.4F, 0, 0}, exponents);
  EXPECT_TRUE(std::equal(want.begin(), want.end(), found.begin()));
  for (float s : TwoExponentScale(means, std::vector<float>(3, 0.0F), {})) EXPECT_EQ(s, 1);
}

TEST(Tied, HeadsThatShareOneTakeItsMean) {
  const std::vector<float> values = {1, 2, 3, 4, 5, 6, 7, 8};
  const HeadTie tie{.shared = 2, .head_dim = 2};
  EXPECT_EQ(Tied(values, tie), (std::vector<float>{2, 3, 2, 3, 6, 7, 6, 7}));
  EXPECT_EQ(Tied(values, {}), values);
}

// Inputs of a quantized model, and those of the original one: the same, disturbed.
SiteStatistics Pairs(ThreadPool& pool, std::size_t tokens, std::size_t in, unsigned seed,
                     float disturbance) {
  Matrix<float> y = NormalMatrix(tokens, in, seed);
  const Matrix<float> mix = NormalMatrix(in, in, seed + 1);
  for (std::size_t t = 0; t < tokens; ++t) {
    for (std::size_t i = 3; i < in; i += 17) y(t, i) *= 12;
    for (std::size_t i = 0; i + 1 < in; i += 2) y(t, i) += 0.8F * y(t, i + 1);
  }
  Matrix<float> x(tokens, in);
  for (std::size_t t = 0; t < tokens; ++t) {
    for (std::size_t i = 0; i < in; ++i) {
      x(t, i) = y(t, i) + disturbance * y(t, (i + 5) % in) * mix(i, 0);
    }
  }
  const std::size_t counted = tokens - tokens / 8;
  const MatrixView<const float> from_x = x;
  const MatrixView<const float> from_y = y;
  StatisticsAccumulator accumulator(in, Gather::kSequential);
  accumulator.Add(pool, from_x.Rows(0, counted), from_y.Rows(0, counted));
  accumulator.HoldOut(from_x.Rows(counted, tokens - counted),
                      from_y.Rows(counted, tokens - counted));
  return std::move(accumulator).Finish();
}

struct Site {
  std::vector<Matrix<float>> weights;
  std::vector<MatrixView<const float>> views;
  std::vector<std::uint8_t> clipped = {1, 0};

  explicit Site(std::size_t in) {
    weights.push_back(NormalMatrix(40, in, 5));
    weights.push_back(NormalMatrix(9, in, 6));
    for (const auto& each : weights) views.push_back(each.view());
  }
  SiteProblem Problem(const quant::Spec& spec) const {
    return {.linears = {views, spec}, .clipped = clipped, .tie = {}};
  }
};

// By the definition: the mean over held-out tokens of || W y - Q (x / s) ||^2, in doubles.
double HeldOutError(const MatrixView<const float>& weights, const quant::QuantizedLinear& linear,
                    const Scale& scale, const PairedRows& rows) {
  double sum = 0;
  Matrix<float> q(weights.rows, weights.cols);
  quant::Dequantize(linear, 0, q);
  for (std::size_t t = 0; t < rows.rows(); ++t) {
    for (std::size_t r = 0; r < weights.rows; ++r) {
      double error = 0;
      for (std::size_t i = 0; i < weights.cols; ++i) {
        error += double{weights(r, i)} * double{rows.targets(t, i)} -
                 double{q(r, i)} / double{scale[i]} * double{rows.inputs(t, i)};
      }
      sum += error * error;
    }
  }
  return sum / static_cast<double>(rows.rows());
}

TEST(SolveSite, ReportsTheHeldOutErrorAndIsNotWorseThanRtnHere) {
  ThreadPool pool(2);
  const std::size_t in = 96;
  const Site site(in);
  for (const int bits : {2, 3, 4, 8}) {
    for (const bool symmetric : {false, true}) {
      const quant::Spec spec{bits, 32, symmetric};
      const SiteStatistics statistics = Pairs(pool, 1200, in, 3, 0.05F);
      const SiteSolution solution =
          SolveSite(pool, site.Problem(spec), Pairs(pool, 1200, in, 3, 0.05F));
      for (std::size_t i = 0; i < site.views.size(); ++i) {
        const LinearSolution& linear = solution.linears[i];
        const double error =
            HeldOutError(site.views[i], linear.weights, solution.scale, statistics.held_out);
        // Products of bf16 numbers where the CPU has them, of two parts that may nearly cancel: at
        // 8 bits the inherited error is some ten times what is left of it.
        EXPECT_NEAR(linear.quality.held_out.chosen, error, 10 * 0x1p-8 * error) << bits;
        EXPECT_LE(error, 1.02 * HeldOutError(site.views[i], Round(pool, site.views[i], spec),
                                             Scale(in, 1.0F), statistics.held_out));
      }
    }
  }
}

// Calibrated on tokens that are nearly one vector, feedback moves errors to where those tokens do
// not look. Where the held-out ones look everywhere alike, only rounding to nearest is good.
TEST(SolveSite, TakesWhatHeldOutTokensFindBest) {
  ThreadPool pool(2);
  const std::size_t in = 96;
  const Site site(in);
  const Matrix<float> direction = NormalMatrix(1, in, 31);
  const Matrix<float> held_out = NormalMatrix(400, in, 32);
  const Matrix<float> factor = NormalMatrix(400, 1, 33);
  Matrix<float> calibrated(400, in);
  for (std::size_t t = 0; t < 400; ++t) {
    for (std::size_t i = 0; i < in; ++i) {
      calibrated(t, i) = direction(0, i) * factor(t, 0) + 0.02F * held_out(t, i);
    }
  }
  StatisticsAccumulator accumulator(in, Gather::kSequential);
  accumulator.Add(pool, std::as_const(calibrated).view());
  accumulator.HoldOut(held_out.view(), {});
  const SiteSolution solution =
      SolveSite(pool, site.Problem({4, 32, false}), std::move(accumulator).Finish());
  for (const LinearSolution& linear : solution.linears) {
    EXPECT_EQ(linear.chosen, "rtn");
    EXPECT_EQ(linear.quality.held_out.chosen, linear.quality.held_out.rtn);
  }
}

// Row 0 fills what fp16 scales can hold: scaled or corrected upwards, its groups would leave it.
// Rounding to nearest has a sound result, so there is one.
TEST(SolveSite, ScalesStayWithinHalves) {
  ThreadPool pool(2);
  const std::size_t in = 96;
  const quant::Spec spec{4, 32, false};
  Site site(in);
  for (std::size_t i = 0; i < in; ++i) site.weights[0](0, i) = i % 2 == 0 ? 491000.0F : -491000.0F;
  const SiteSolution solution = SolveSite(pool, site.Problem(spec), Pairs(pool, 1200, in, 3, 0.3F));
  for (const LinearSolution& linear : solution.linears) {
    for (const float scale : linear.weights.scales.span()) EXPECT_LE(scale, 65504.0F);
    EXPECT_LE(linear.quality.held_out.chosen, linear.quality.held_out.rtn);
  }
}

// With inputs that are off by a linear map, a corrected target makes up for most of it; without
// pairs there is nothing to correct.
TEST(SolveSite, CorrectsTheTargets) {
  ThreadPool pool(2);
  const std::size_t in = 96;
  const Site site(in);
  const quant::Spec spec{8, 32, false};
  const SiteSolution corrected =
      SolveSite(pool, site.Problem(spec), Pairs(pool, 4000, in, 3, 0.1F));
  const SiteSolution plain =
      SolveSite(pool, site.Problem(spec), Pairs(pool, 4000, in, 3, 0.1F), {.correct = false});
  EXPECT_GT(corrected.linears[0].correction, 0.5);
  EXPECT_EQ(plain.linears[0].correction, 0);
  EXPECT_LT(corrected.linears[0].quality.held_out.chosen,
            0.2 * plain.linears[0].quality.held_out.chosen);
}

// W C gathered at once is W times C gathered: sums of as many fp32 products.
TEST(StatisticsAccumulator, ProjectsWhatItPairs) {
  ThreadPool pool(2);
  const std::size_t in = 96;
  const Matrix<float> x = NormalMatrix(300, in, 1);
  const Matrix<float> y = NormalMatrix(300, in, 2);
  const Matrix<float> weights = NormalMatrix(20, in, 3);
  StatisticsAccumulator whole(in, Gather::kSequential);
  whole.Add(pool, x.view(), y.view());
  StatisticsAccumulator projecting(in, Gather::kSequential);
  projecting.Project(weights.view());
  projecting.Add(pool, x.view(), y.view());
  const SiteStatistics one = std::move(whole).Finish();
  const SiteStatistics other = std::move(projecting).Finish();
  EXPECT_EQ(other.cross.rows(), 0U);
  for (std::size_t i = 0; i < in; ++i) {
    for (std::size_t j = 0; j < in; ++j) {
      double c = 0;
      for (std::size_t t = 0; t < 300; ++t) {
        c += (double{y(t, i)} - double{x(t, i)}) * double{x(t, j)} / 300;
      }
      EXPECT_NEAR(one.cross(i, j), c, 1e-5);
    }
  }
  for (std::size_t r = 0; r < 20; ++r) {
    for (std::size_t j = 0; j < in; ++j) {
      double sum = 0;
      for (std::size_t i = 0; i < in; ++i) sum += double{weights(r, i)} * double{one.cross(i, j)};
      EXPECT_NEAR(other.projected(r, j), sum, 1e-4);
    }
  }
}

// Each part pays, on inputs with outlier channels, in few bits: what it is switched off by loses
// more on held-out tokens.
TEST(SolveSite, EachPartPays) {
  ThreadPool pool(2);
  const std::size_t in = 192;
  const Site site(in);
  const quant::Spec spec{3, 64, false};
  const PairedRows judges = Pairs(pool, 4000, in, 3, 0.05F).held_out;
  const auto error = [&](const SiteOptions& options) {
    const SiteSolution solution =
        SolveSite(pool, site.Problem(spec), Pairs(pool, 4000, in, 3, 0.05F), options);
    double sum = 0;
    for (std::size_t i = 0; i < site.views.size(); ++i) {
      sum += HeldOutError(site.views[i], solution.linears[i].weights, solution.scale, judges);
    }
    return sum;
  };
  const double all = error({});
  EXPECT_LT(all, 0.98 * error({.scales = false}));
  EXPECT_LT(all, 0.98 * error({.ranges = false}));
  EXPECT_LT(all, 0.98 * error({.correct = false}));
  EXPECT_LT(all, 0.998 * error({.refit = false}));
}

// The published AWQ by its own functions, on the same inputs. (1.02: bf16 products judge.)
TEST(SolveSite, IsNotWorseThanThePublishedAwqHere) {
  ThreadPool pool(2);
  const std::size_t in = 96;
  const Site site(in);
  for (const int bits : {2, 4}) {
    const quant::Spec spec{bits, 32, false};
    const SiteStatistics statistics = Pairs(pool, 200, in, 21, 0.3F);
    const ScaleChoice choice = EstimateScale(pool, site.views, statistics, spec);
    const SiteSolution solution =
        SolveSite(pool, site.Problem(spec), Pairs(pool, 200, in, 21, 0.3F));
    double published = 0;
    double found = 0;
    for (std::size_t i = 0; i < site.views.size(); ++i) {
      const Matrix<float> scaled = ScaledWeights(pool, site.views[i], choice.scale);
      const Clip clip = SearchClip(pool, scaled, statistics.gram, spec, choice.scale);
      const auto rounded = Round(pool, scaled, spec, site.clipped[i] != 0 ? &clip : nullptr);
      published += HeldOutError(site.views[i], rounded, choice.scale, statistics.held_out);
      found += HeldOutError(site.views[i], solution.linears[i].weights, solution.scale,
                            statistics.held_out);
    }
    EXPECT_LE(found, 1.02 * published) << bits;
  }
}

// A parabola's least point, held to [0, 1].
TEST(PairedError, TheBestStepIsTheLeastPoint) {
  ThreadPool pool(2);
  const Matrix<float> weights = NormalMatrix(7, 40, 1);
  PairedRows rows;
  rows.inputs = NormalMatrix(60, 40, 2);
  rows.targets = NormalMatrix(60, 40, 3);
  const PairedError error(pool, weights, rows);
  Matrix<float> change = NormalMatrix(7, 40, 4);
  const auto at = [&](double alpha) {
    double sum = 0;
    for (std::size_t t = 0; t < 60; ++t) {
      for (std::size_t r = 0; r < 7; ++r) {
        double e = 0;
        for (std::size_t i = 0; i < 40; ++i) {
          e += double{weights(r, i)} * double{rows.targets(t, i)} -
               (double{weights(r, i)} + alpha * double{change(r, i)}) * double{rows.inputs(t, i)};
        }
        sum += e * e;
      }
    }
    return sum;
  };
  for (const float sign : {1.0F, -1.0F}) {
    for (float& c : change.span()) c *= sign;
    const double least = error.BestStep(change);
    EXPECT_GE(least, 0);
    EXPECT_LE(least, 1);
    // bf16 products move it by a few thousandths, and the parabola is flat there.
    for (const double other : {0.0, 0.25, 0.5, 0.75, 1.0}) {
      EXPECT_LE(at(least), at(other) * (1 + 1e-4)) << sign << " " << other;
    }
  }
}

TEST(SolveSite, DoesNotDependOnThreads) {
  const std::size_t in = 160;
  const Site site(in);
  const quant::Spec spec{3, 32, false};
  ThreadPool one(1);
  const SiteSolution first = SolveSite(one, site.Problem(spec), Pairs(one, 900, in, 8, 0.05F));
  ThreadPool three(3);
  const SiteSolution other = SolveSite(three, site.Problem(spec), Pairs(three, 900, in, 8, 0.05F));
  EXPECT_EQ(first.scale, other.scale);
  for (std::size_t i = 0; i < site.views.size(); ++i) {
    EXPECT_TRUE(std::ranges::equal(first.linears[i].weights.codes.span(),
                                   other.linears[i].weights.codes.span()));
    EXPECT_EQ(first.linears[i].quality.held_out.chosen, other.linears[i].quality.held_out.chosen);
  }
}

// Inputs of one token, fewer tokens than channels, dead and constant channels, one that is huge:
// a sound result, never worse than rounding to nearest on what it was judged by.
TEST(SolveSite, OddInputsAreSound) {
  ThreadPool pool(2);
  const std::size_t in = 96;
  const Site site(in);
  for (const std::size_t tokens : {1U, 20U, 500U}) {
    for (const int oddity : {0, 1, 2, 3}) {
      Matrix<float> x = NormalMatrix(tokens, in, 4);
      for (std::size_t t = 0; t < tokens; ++t) {
        for (std::size_t i = 0; i < in; ++i) {
          if (oddity == 1 && i % 3 == 0) x(t, i) = 0;
          if (oddity == 2) x(t, i) = 0.5F;
          if (oddity == 3 && i == 7) x(t, i) = 1e6F;
        }
      }
      StatisticsAccumulator accumulator(in, Gather::kSequential);
      const MatrixView<const float> view = x;
      accumulator.Add(pool, view, view);
      accumulator.HoldOut(view, view);
      const SiteSolution solution =
          SolveSite(pool, site.Problem({4, 32, false}), std::move(accumulator).Finish());
      for (float s : solution.scale) EXPECT_TRUE(std::isfinite(s) && s > 0);
      for (const LinearSolution& linear : solution.linears) {
        EXPECT_TRUE(std::isfinite(linear.quality.held_out.chosen));
        EXPECT_LE(linear.quality.held_out.chosen, linear.quality.held_out.rtn * 1.0001);
      }
    }
  }
}

}  // namespace
}  // namespace awq::search
