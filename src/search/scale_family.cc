#include "search/scale_family.h"

#include <algorithm>
#include <cmath>

namespace awq::search {
namespace {

constexpr std::size_t kRowsPerTask = 64;
constexpr double kSmallestMean = 1e-4;
constexpr double kWeightFloor = 1e-4;
}  // namespace

std::vector<float> Tied(std::span<const float> values, const HeadTie& tie) {
  std::vector<float> tied(values.begin(), values.end());
  if (tie.shared == 1) return tied;
  const std::size_t span = tie.shared * tie.head_dim;
  AWQ_CHECK_EQ(values.size() % span, std::size_t{0});
  for (std::size_t first = 0; first < values.size(); first += span) {
    for (std::size_t d = 0; d < tie.head_dim; ++d) {
      double sum = 0;
      for (std::size_t head = 0; head < tie.shared; ++head) {
        sum += static_cast<double>(values[first + head * tie.head_dim + d]);
      }
      const auto mean = static_cast<float>(sum / static_cast<double>(tie.shared));
      for (std::size_t head = 0; head < tie.shared; ++head) {
        tied[first + head * tie.head_dim + d] = mean;
      }
    }
  }
  return tied;
}

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
  double largest = 0;
  for (std::size_t i = 0; i < mean_abs.size(); ++i) {
    const double up =
        std::pow(std::max(static_cast<double>(mean_abs[i]), kSmallestMean), exponents.activation);
    const double down =
        std::pow(std::max(static_cast<double>(profile[i]), kWeightFloor), exponents.weight);
    scale.push_back(up / down);
    if (profile[i] > 0) largest = std::max(largest, scale.back());
  }
  for (std::size_t i = 0; i < scale.size() && largest > 0; ++i) {
    if (!(profile[i] > 0)) scale[i] = largest;
  }
  return NormalizeScale(scale);
}

}  // namespace awq::search
