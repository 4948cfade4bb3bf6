#include "search/scale_family.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace awq::search {
namespace {

constexpr std::size_t kRowsPerTask = 64;
constexpr double kSmallestMean = 1e-4;
constexpr double kWeightFloor = 1e-4;
// Points of the coarse grid whose neighbours are looked at.
constexpr std::size_t kCenters = 2;

// The estimate of every candidate: on the sketch, or exact where there is none.
std::vector<double> Estimate(ThreadPool& pool, const ScaledLinears& linears,
                             std::span<const Scale> candidates, const SiteStatistics& statistics) {
  if (statistics.sketch.rows() > 0) {
    return SketchScaleLosses(pool, linears, candidates, statistics.sketch);
  }
  std::vector<double> losses;
  for (const Scale& scale : candidates) {
    losses.push_back(ExactScaleLoss(pool, linears, scale, statistics.gram));
  }
  return losses;
}

std::vector<Exponents> CoarseGrid() {
  std::vector<Exponents> grid;
  for (int a = 0; a <= 5; ++a) {
    for (int b = 0; b <= 3; ++b) grid.push_back({0.2 * a, 0.3 * b});
  }
  return grid;
}

// The eight around it that lie in the grid's bounds.
std::vector<Exponents> Around(const Exponents& center) {
  std::vector<Exponents> near;
  for (int a = -1; a <= 1; ++a) {
    for (int b = -1; b <= 1; ++b) {
      const Exponents e{center.activation + 0.1 * a, center.weight + 0.15 * b};
      const bool inside = e.activation > -1e-9 && e.activation < 1 + 1e-9 && e.weight > -1e-9;
      if (inside && (a != 0 || b != 0)) near.push_back(e);
    }
  }
  return near;
}

// Places of the smallest values, the smallest first; NaN counts as infinite.
std::vector<std::size_t> Smallest(const std::vector<double>& values, std::size_t count) {
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    if (std::isnan(values[a]) || std::isnan(values[b])) return !std::isnan(values[a]);
    return values[a] < values[b];
  });
  order.resize(std::min(order.size(), count));
  return order;
}

}  // namespace

std::vector<float> WeightProfile(ThreadPool& pool, const ScaledLinears& linears) {
  const std::size_t in = linears.weights.front().cols;
  const std::size_t n = linears.spec.group_size;
  std::size_t rows = 0;
  std::vector<double> sums(in);
  for (const MatrixView<const float>& weights : linears.weights) {
    rows += weights.rows;
    const std::size_t tasks = CeilDiv(weights.rows, kRowsPerTask);
    Matrix<double> parts(tasks, in, 0.0);
    pool.ParallelFor(tasks, [&](std::size_t task, std::size_t) {
      const std::size_t end = std::min(weights.rows, (task + 1) * kRowsPerTask);
      double* part = parts.row(task);
      for (std::size_t row = task * kRowsPerTask; row < end; ++row) {
        const float* w = weights.row(row);
        for (std::size_t first = 0; first < in; first += n) {
          float largest = 0;
          for (std::size_t i = 0; i < n; ++i) largest = std::max(largest, std::abs(w[first + i]));
          if (largest == 0) continue;
          for (std::size_t i = 0; i < n; ++i) {
            part[first + i] += static_cast<double>(std::abs(w[first + i]) / largest);
          }
        }
      }
    });
    for (std::size_t task = 0; task < tasks; ++task) {
      for (std::size_t i = 0; i < in; ++i) sums[i] += parts(task, i);
    }
  }
  std::vector<float> profile;
  for (double sum : sums) profile.push_back(static_cast<float>(sum / static_cast<double>(rows)));
  return profile;
}

Scale TwoExponentScale(std::span<const float> mean_abs, std::span<const float> profile,
                       const Exponents& exponents) {
  std::vector<double> scale;
  for (std::size_t i = 0; i < mean_abs.size(); ++i) {
    const double up =
        std::pow(std::max(static_cast<double>(mean_abs[i]), kSmallestMean), exponents.activation);
    const double down =
        std::pow(std::max(static_cast<double>(profile[i]), kWeightFloor), exponents.weight);
    scale.push_back(up / down);
  }
  return NormalizeScale(scale);
}

std::vector<ScaleCandidate> TwoExponentCandidates(ThreadPool& pool, const ScaledLinears& linears,
                                                  const SiteStatistics& statistics,
                                                  std::size_t count) {
  const std::vector<float> profile = WeightProfile(pool, linears);
  std::vector<ScaleCandidate> candidates;
  std::vector<double> losses;
  const auto add = [&](const std::vector<Exponents>& exponents) {
    std::vector<Scale> scales;
    for (const Exponents& each : exponents) {
      const bool known = std::any_of(candidates.begin(), candidates.end(), [&](const auto& other) {
        return std::abs(other.exponents.activation - each.activation) < 1e-6 &&
               std::abs(other.exponents.weight - each.weight) < 1e-6;
      });
      if (known) continue;
      scales.push_back(TwoExponentScale(statistics.mean_abs, profile, each));
      candidates.push_back({scales.back(), each});
    }
    const std::vector<double> estimates = Estimate(pool, linears, scales, statistics);
    losses.insert(losses.end(), estimates.begin(), estimates.end());
  };
  add(CoarseGrid());
  for (std::size_t best : Smallest(losses, kCenters)) add(Around(candidates[best].exponents));
  std::vector<ScaleCandidate> chosen;
  for (std::size_t place : Smallest(losses, count)) chosen.push_back(std::move(candidates[place]));
  return chosen;
}

}  // namespace awq::search
