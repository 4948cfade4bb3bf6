#include "search/ranges.h"

#include <cmath>
#include <limits>
#include <vector>

#include "base/for_rows.h"
#include "math/vector.h"
#include "quant/group.h"

namespace awq::search {
namespace {

constexpr std::size_t kRatios = 16;

float Ratio(std::size_t choice) {
  return static_cast<float>(1 - static_cast<double>(choice) * 0.04);
}

// Which ends a sweep moves.
struct Ends {
  bool lo = false;
  bool hi = false;
};

quant::GroupRange Moved(quant::GroupRange range, Ends ends, float ratio) {
  if (ends.lo) range.lo *= ratio;
  if (ends.hi) range.hi *= ratio;
  return range;
}

// sum of (residual_i unit_i)^2; the residual is spoiled.
float Loss(std::span<float> residual, const float* unit) {
  for (std::size_t i = 0; i < residual.size(); ++i) residual[i] *= unit[i];
  return math::Dot(std::span<const float>(residual), std::span<const float>(residual));
}

// One sweep of one row: each group takes the ratio with the least loss; the first of equals, the
// widest.
void SweepRow(const quant::GroupQuantizer& quantizer, std::span<const float> weights,
              std::span<const float> units, Ends ends, std::span<float> lo, std::span<float> hi) {
  const std::size_t n = weights.size() / lo.size();
  std::vector<float> residual(n);
  for (std::size_t group = 0; group < lo.size(); ++group) {
    const std::size_t first = group * n;
    quant::GroupRange best{lo[group], hi[group]};
    float least = std::numeric_limits<float>::infinity();
    for (std::size_t k = 0; k < kRatios; ++k) {
      const quant::GroupRange moved = Moved({lo[group], hi[group]}, ends, Ratio(k));
      quantizer.Residual(quantizer.MapOf(moved), &weights[first], n, residual.data());
      const float loss = Loss(residual, &units[first]);
      if (!(loss < least)) continue;
      least = loss;
      best = moved;
    }
    lo[group] = best.lo;
    hi[group] = best.hi;
  }
}

}  // namespace

GroupRanges FullRanges(ThreadPool& pool, MatrixView<const float> weights, const quant::Spec& spec) {
  AWQ_CHECK_EQ(weights.cols % spec.group_size, std::size_t{0});
  const std::size_t groups = weights.cols / spec.group_size;
  const quant::GroupQuantizer quantizer(spec);
  GroupRanges ranges{Matrix<float>(weights.rows, groups), Matrix<float>(weights.rows, groups)};
  ForRows(pool, weights.rows, [&](std::size_t row) {
    for (std::size_t group = 0; group < groups; ++group) {
      const quant::GroupRange range =
          quantizer.Range(weights.row(row) + group * spec.group_size, spec.group_size);
      ranges.lo(row, group) = range.lo;
      ranges.hi(row, group) = range.hi;
    }
  });
  return ranges;
}

GroupRanges SearchRanges(ThreadPool& pool, MatrixView<const float> weights,
                         std::span<const float> scale, std::span<const float> importance,
                         const quant::Spec& spec) {
  AWQ_CHECK_EQ(weights.cols, importance.size());
  AWQ_CHECK_EQ(weights.cols, scale.size());
  const quant::GroupQuantizer quantizer(spec);
  std::vector<float> units;  // an error of W diag(s) counts 1/s of it
  for (std::size_t i = 0; i < scale.size(); ++i) {
    units.push_back(std::sqrt(importance[i]) / scale[i]);
  }
  GroupRanges ranges = FullRanges(pool, weights, spec);
  ForRows(pool, weights.rows, [&](std::size_t row) {
    const std::span<const float> w(weights.row(row), weights.cols);
    const std::span<float> lo(ranges.lo.row(row), ranges.lo.cols());
    const std::span<float> hi(ranges.hi.row(row), ranges.hi.cols());
    SweepRow(quantizer, w, units, {.lo = true, .hi = true}, lo, hi);
    if (spec.symmetric) return;
    SweepRow(quantizer, w, units, {.lo = false, .hi = true}, lo, hi);
    SweepRow(quantizer, w, units, {.lo = true, .hi = false}, lo, hi);
  });
  return ranges;
}

quant::QuantizedLinear MapsOf(ThreadPool& pool, const GroupRanges& ranges, const quant::Spec& spec,
                              std::size_t in_features) {
  const std::size_t groups = ranges.lo.cols();
  AWQ_CHECK_EQ(groups * spec.group_size, in_features);
  const quant::GroupQuantizer quantizer(spec);
  quant::QuantizedLinear linear{spec, Matrix<std::uint8_t>(ranges.lo.rows(), in_features),
                                Matrix<float>(ranges.lo.rows(), groups),
                                Matrix<std::uint8_t>(ranges.lo.rows(), groups)};
  ForRows(pool, ranges.lo.rows(), [&](std::size_t row) {
    for (std::size_t group = 0; group < groups; ++group) {
      const quant::GroupMap map = quantizer.MapOf({ranges.lo(row, group), ranges.hi(row, group)});
      linear.scales(row, group) = map.scale;
      linear.zeros(row, group) = static_cast<std::uint8_t>(map.zero);
    }
  });
  return linear;
}

}  // namespace awq::search
