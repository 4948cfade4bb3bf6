#include "eval/bootstrap.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

namespace awq::eval {
namespace {

TEST(Resamples, HoldAsManyWindowsAsThereAreAndRepeat) {
  const Resamples resamples(7);
  std::vector<std::uint32_t> total(7, 0);
  for (std::size_t r = 0; r < Resamples::kCount; ++r) {
    std::vector<std::uint32_t> times(7, 99);
    resamples.Times(r, times);
    std::vector<std::uint32_t> again(7);
    Resamples(7).Times(r, again);
    EXPECT_EQ(times, again);
    std::uint32_t sum = 0;
    for (std::size_t w = 0; w < 7; ++w) {
      sum += times[w];
      total[w] += times[w];
    }
    EXPECT_EQ(sum, 7U);
  }
  for (std::uint32_t each : total) EXPECT_NEAR(each, 1000, 5 * std::sqrt(1000.0 * 6 / 7));
}

TEST(Bootstrap, OneWindowHasAnEmptyInterval) {
  const Figure figure = MeanFigure(Resamples(1), std::vector<double>{3.5});
  EXPECT_EQ(figure.value, 3.5);
  EXPECT_EQ(figure.low, 3.5);
  EXPECT_EQ(figure.high, 3.5);
}

TEST(Bootstrap, TheMeansIntervalIsTheNormalOne) {
  std::mt19937 random(1);
  std::normal_distribution<double> normal(10, 2);
  std::vector<double> values(400);
  for (double& x : values) x = normal(random);
  const Figure figure = MeanFigure(Resamples(values.size()), values);
  // 1.96 * 2 / sqrt(400), and 2 % of that for each of sample deviation and 1000 resamples, times 5.
  EXPECT_NEAR(figure.high - figure.value, 0.196, 0.04);
  EXPECT_NEAR(figure.value - figure.low, 0.196, 0.04);
  EXPECT_NEAR(figure.value, 10, 0.5);
}

double Quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  const double rank = q * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(rank);
  const std::size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (rank - static_cast<double>(below)) * (values[above] - values[below]);
}

TEST(Bootstrap, QuantilesAreThoseOfTheResampledTokens) {
  const std::size_t windows = 6;
  const std::size_t per_window = 5;
  std::mt19937 random(2);
  std::vector<float> values(windows * per_window);
  for (float& x : values) x = static_cast<float>(random() % 12);  // with equal ones
  const std::vector<double> q = {0, 0.5, 0.52, 0.99, 1};
  ThreadPool pool(3);
  const Resamples resamples(windows);
  const std::vector<Figure> figures = QuantileFigures(pool, resamples, values, q);
  ASSERT_EQ(figures.size(), q.size());
  for (std::size_t i = 0; i < q.size(); ++i) {
    std::vector<double> each;
    for (std::size_t r = 0; r < Resamples::kCount; ++r) {
      std::vector<std::uint32_t> times(windows);
      resamples.Times(r, times);
      std::vector<double> expanded;
      for (std::size_t t = 0; t < values.size(); ++t) {
        expanded.insert(expanded.end(), times[t / per_window], static_cast<double>(values[t]));
      }
      each.push_back(Quantile(expanded, q[i]));
    }
    EXPECT_NEAR(figures[i].value, Quantile({values.begin(), values.end()}, q[i]), 1e-12);
    EXPECT_NEAR(figures[i].low, Quantile(each, 0.025), 1e-12);
    EXPECT_NEAR(figures[i].high, Quantile(each, 0.975), 1e-12);
  }
}

}  // namespace
}  // namespace awq::eval
