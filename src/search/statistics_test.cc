#include "search/statistics.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "search/statistics_loops.h"
#include "testing/loops.h"

namespace awq::search {
namespace {

Matrix<float> RandomInputs(std::size_t tokens, std::size_t features, unsigned seed = 1) {
  Matrix<float> x(tokens, features);
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  for (float& value : x.span()) value = normal(random);
  for (std::size_t t = 0; t < tokens; ++t) x(t, features / 2) *= 30;
  return x;
}

SiteStatistics Gather(std::size_t threads, MatrixView<const float> x, std::size_t tokens_per_call) {
  ThreadPool pool(threads);
  StatisticsAccumulator accumulator(x.cols);
  for (std::size_t first = 0; first < x.rows; first += tokens_per_call) {
    accumulator.Add(pool, x.Rows(first, std::min(tokens_per_call, x.rows - first)));
  }
  EXPECT_EQ(accumulator.tokens(), x.rows);
  EXPECT_EQ(accumulator.nonfinite(), 0U);
  return std::move(accumulator).Finish();
}

template <class T>
bool SameBits(std::span<const T> a, std::span<const T> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

TEST(Statistics, MatchTheirDefinition) {
  constexpr std::size_t kTokens = 77;
  constexpr std::size_t kFeatures = 300;
  const Matrix<float> x = RandomInputs(kTokens, kFeatures);
  const SiteStatistics statistics = Gather(2, x, 10);
  EXPECT_EQ(statistics.tokens, kTokens);
  EXPECT_EQ(statistics.sketch.rows(), 0U) << "too narrow for a sketch";
  for (std::size_t i = 0; i < kFeatures; ++i) {
    double abs_sum = 0;
    float largest = 0;
    for (std::size_t t = 0; t < kTokens; ++t) {
      abs_sum += static_cast<double>(std::abs(x(t, i)));
      largest = std::max(largest, std::abs(x(t, i)));
    }
    EXPECT_EQ(statistics.mean_abs[i], static_cast<float>(abs_sum / kTokens));
    EXPECT_EQ(statistics.max_abs[i], largest);
    for (std::size_t j = 0; j < kFeatures; ++j) {
      double want = 0;
      double magnitude = 0;
      for (std::size_t t = 0; t < kTokens; ++t) {
        const double product = static_cast<double>(x(t, i)) * static_cast<double>(x(t, j));
        want += product;
        magnitude += std::abs(product);
      }
      // kTokens additions, each rounded to float, and the division
      ASSERT_NEAR(static_cast<double>(statistics.gram(i, j)), want / kTokens,
                  (kTokens + 2) * 0x1p-24 * magnitude / kTokens);
      ASSERT_EQ(statistics.gram(i, j), statistics.gram(j, i));
    }
  }
}

TEST(Statistics, DoNotDependOnThreads) {
  const Matrix<float> x = RandomInputs(301, 1100);
  const SiteStatistics one = Gather(1, x, 128);
  for (std::size_t threads : {2U, 3U, 8U}) {
    const SiteStatistics many = Gather(threads, x, 128);
    EXPECT_TRUE(SameBits(one.gram.span(), many.gram.span())) << threads;
    EXPECT_TRUE(SameBits(one.sketch.span(), many.sketch.span())) << threads;
    EXPECT_EQ(one.mean_abs, many.mean_abs) << threads;
    EXPECT_EQ(one.max_abs, many.max_abs) << threads;
  }
}

TEST(Statistics, DoNotDependOnHowCallsDivideTheTokens) {
  const Matrix<float> x = RandomInputs(300, 1100);
  const SiteStatistics once = Gather(2, x, 300);
  for (std::size_t tokens_per_call : {1U, 7U, 128U}) {
    const SiteStatistics pieces = Gather(2, x, tokens_per_call);
    EXPECT_TRUE(SameBits(once.sketch.span(), pieces.sketch.span())) << tokens_per_call;
    EXPECT_EQ(once.mean_abs, pieces.mean_abs) << tokens_per_call;
    EXPECT_EQ(once.max_abs, pieces.max_abs) << tokens_per_call;
  }
}

TEST(Statistics, BF16InputsCountAsTheirValues) {
  const Matrix<float> x = RandomInputs(130, 1030);
  Matrix<BF16> rounded(130, 1030);
  Matrix<float> widened(130, 1030);
  for (std::size_t i = 0; i < x.size(); ++i) {
    rounded.span()[i] = ToBF16(x.span()[i]);
    widened.span()[i] = ToFloat(rounded.span()[i]);
  }
  ThreadPool pool(2);
  StatisticsAccumulator accumulator(1030);
  accumulator.Add(pool, rounded);
  const SiteStatistics from_bf16 = std::move(accumulator).Finish();
  const SiteStatistics from_float = Gather(2, widened, 130);
  EXPECT_TRUE(SameBits(from_bf16.sketch.span(), from_float.sketch.span()));
  EXPECT_EQ(from_bf16.mean_abs, from_float.mean_abs);
  EXPECT_EQ(from_bf16.max_abs, from_float.max_abs);
  for (std::size_t i = 0; i < 1030; ++i) {  // products of bf16 are exact; 130 additions are not
    const float bound = 130 * 0x1p-23F * from_float.gram(i, i);
    EXPECT_NEAR(from_bf16.gram(i, i), from_float.gram(i, i), bound);
  }
}

TEST(Statistics, CountsEveryNonFiniteInput) {
  ThreadPool pool(3);
  Matrix<float> x = RandomInputs(40, 700);
  x(0, 0) = std::numeric_limits<float>::infinity();
  x(39, 699) = -std::numeric_limits<float>::infinity();
  x(20, 300) = std::numeric_limits<float>::quiet_NaN();
  StatisticsAccumulator accumulator(700);
  accumulator.Add(pool, x);
  EXPECT_EQ(accumulator.nonfinite(), 3U);
  Matrix<BF16> y(3, 700, BF16{0x3f80});
  y(2, 17) = BF16{0x7f80};
  accumulator.Add(pool, y);
  EXPECT_EQ(accumulator.nonfinite(), 4U);
}

// For a residual row d, || sketch d ||^2 estimates d H d^T with relative deviation about
// sqrt(2 / kSketchRows) = 0.09; 100 rows together vary less.
TEST(Statistics, SketchPreservesLosses) {
  const Matrix<float> x = RandomInputs(3000, 1024);
  const SiteStatistics statistics = Gather(2, x, 500);
  ASSERT_EQ(statistics.sketch.rows(), kSketchRows);
  const Matrix<float> d = RandomInputs(20, 1024, 8);
  double exact = 0;
  double sketched = 0;
  for (std::size_t r = 0; r < d.rows(); ++r) {
    const auto energy = [&](const Matrix<float>& m, double& sum) {
      for (std::size_t k = 0; k < m.rows(); ++k) {
        double dot = 0;
        for (std::size_t i = 0; i < 1024; ++i) {
          dot += static_cast<double>(m(k, i)) * static_cast<double>(d(r, i));
        }
        sum += dot * dot;
      }
    };
    energy(x, exact);
    energy(statistics.sketch, sketched);
  }
  EXPECT_NEAR(sketched / (exact / 3000), 1, 0.3);
}

// Real models give the first token of every window the same huge input. A sketch that puts token t
// in row t mod rows adds them all up in one row, where random signs may cancel; see
// PlaceInSketch.
TEST(Statistics, SketchKeepsAHugeTokenThatEveryWindowRepeats) {
  Matrix<float> x(16 * 512, 1024, 0.0F);
  for (std::size_t window = 0; window < 16; ++window) x(window * 512, 3) = 1000;
  const SiteStatistics statistics = Gather(2, x, 512);
  double energy = 0;
  for (std::size_t r = 0; r < kSketchRows; ++r) {
    energy += std::pow(static_cast<double>(statistics.sketch(r, 3)), 2);
  }
  // 16 tokens in 256 rows: about half a pair shares a row, each changes the energy by 2 / 16.
  EXPECT_NEAR(energy / static_cast<double>(statistics.gram(3, 3)), 1, 0.3);
}

TEST(Statistics, EveryInstructionSetGivesTheSameBits) {
  const Matrix<float> x = RandomInputs(50, 67);
  const auto gather = [&](const StatisticsLoops& loops) {
    std::vector<double> abs_sums(67);
    std::vector<float> result(67 * 5);
    loops.add_f32({x.data(), 67, 50, 67, 1000},
                  {abs_sums.data(), result.data(), result.data() + 67, 4, 67});
    for (double sum : abs_sums) result.push_back(static_cast<float>(sum));
    return result;
  };
  const std::vector<float> want = gather(baseline::kStatisticsLoops);
  for (const Isa isa : testing::IsasOfThisCpu()) {
    EXPECT_EQ(gather(AWQ_TABLE_FOR(isa, kStatisticsLoops)), want) << IsaName(isa);
  }
}

}  // namespace
}  // namespace awq::search
