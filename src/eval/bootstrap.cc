#include "eval/bootstrap.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>

#include "base/check.h"
#include "base/random.h"

namespace awq::eval {
namespace {

constexpr std::uint64_t kSeed = 20230601;
constexpr double kLow = 0.025;
constexpr double kHigh = 0.975;

// The value at quantile q of sorted values.
double AtQuantile(std::span<const double> sorted, double q) {
  const double rank = q * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(rank);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (rank - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

Figure WithInterval(double value, std::vector<double> resampled) {
  std::sort(resampled.begin(), resampled.end());
  return {value, AtQuantile(resampled, kLow), AtQuantile(resampled, kHigh)};
}

// Tokens in the order of their values, with the window that each came from.
struct Sorted {
  std::vector<float> values;
  std::vector<std::uint32_t> windows;
  std::size_t per_window = 0;

  Sorted(std::span<const float> from, std::size_t window_count)
      : per_window(from.size() / window_count) {
    std::vector<std::uint32_t> order(from.size());
    std::iota(order.begin(), order.end(), 0U);
    std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
      return from[a] != from[b] ? from[a] < from[b] : a < b;
    });
    for (std::uint32_t i : order) {
      values.push_back(from[i]);
      windows.push_back(static_cast<std::uint32_t>(i / per_window));
    }
  }
};

// Quantiles (ascending q) of the multiset that holds every token of window w times[w] times: one
// walk over the sorted tokens.
std::vector<double> Walk(const Sorted& sorted, std::span<const std::uint32_t> times,
                         std::span<const double> q) {
  std::vector<double> result;
  const auto total = static_cast<double>(sorted.values.size());
  std::size_t passed = 0;  // copies of tokens before `i`
  std::size_t i = 0;
  const auto value_at = [&](std::size_t rank) {  // ranks asked for never fall
    while (passed + times[sorted.windows[i]] <= rank) passed += times[sorted.windows[i++]];
    return static_cast<double>(sorted.values[i]);
  };
  for (double each : q) {
    const double rank = each * (total - 1);
    const auto below = static_cast<std::size_t>(rank);
    const double low = value_at(below);
    // A later quantile may start below the neighbour that is looked at here.
    const std::size_t kept_passed = passed;
    const std::size_t kept_i = i;
    const double high = below + 1 < sorted.values.size() ? value_at(below + 1) : low;
    passed = kept_passed;
    i = kept_i;
    result.push_back(low + (rank - static_cast<double>(below)) * (high - low));
  }
  return result;
}

}  // namespace

Resamples::Resamples(std::size_t windows) : windows_(windows) {
  AWQ_CHECK_LT(std::size_t{0}, windows);
}

void Resamples::Times(std::size_t r, std::span<std::uint32_t> times) const {
  AWQ_CHECK_EQ(times.size(), windows_);
  std::fill(times.begin(), times.end(), 0U);
  Random random(kSeed, r);
  for (std::size_t draw = 0; draw < windows_; ++draw) ++times[random.Below(windows_)];
}

Figure MeanFigure(const Resamples& resamples, std::span<const double> window_means) {
  const auto windows = static_cast<double>(resamples.windows());
  const double mean = std::accumulate(window_means.begin(), window_means.end(), 0.0) / windows;
  std::vector<double> means;
  std::vector<std::uint32_t> times(resamples.windows());
  for (std::size_t r = 0; r < Resamples::kCount; ++r) {
    resamples.Times(r, times);
    double sum = 0;
    for (std::size_t w = 0; w < times.size(); ++w) sum += times[w] * window_means[w];
    means.push_back(sum / windows);
  }
  return WithInterval(mean, std::move(means));
}

std::vector<Figure> QuantileFigures(ThreadPool& pool, const Resamples& resamples,
                                    std::span<const float> values, std::span<const double> q) {
  AWQ_CHECK_EQ(values.size() % resamples.windows(), std::size_t{0});
  AWQ_CHECK(std::is_sorted(q.begin(), q.end()));
  const Sorted sorted(values, resamples.windows());
  std::vector<std::vector<double>> walked(Resamples::kCount);
  pool.ParallelFor(Resamples::kCount, [&](std::size_t r, std::size_t) {
    std::vector<std::uint32_t> times(resamples.windows());
    resamples.Times(r, times);
    walked[r] = Walk(sorted, times, q);
  });
  const std::vector<double> whole =
      Walk(sorted, std::vector<std::uint32_t>(resamples.windows(), 1), q);
  std::vector<Figure> figures;
  for (std::size_t i = 0; i < q.size(); ++i) {
    std::vector<double> resampled;
    for (const std::vector<double>& each : walked) resampled.push_back(each[i]);
    figures.push_back(WithInterval(whole[i], std::move(resampled)));
  }
  return figures;
}

}  // namespace awq::eval
