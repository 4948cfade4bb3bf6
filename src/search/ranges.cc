#include "search/ranges.h"

#include <algorithm>
#include <array>

#include "quant/group.h"
#include "search/for_rows.h"
#include "search/gram_loss.h"

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

// One sweep: each group takes the ratio with the least error; the first of equals, the widest.
void Sweep(ThreadPool& pool, MatrixView<const float> weights, MatrixView<const float> gram,
           const quant::Spec& spec, Ends ends, GroupRanges& ranges) {
  const std::size_t n = spec.group_size;
  const quant::GroupQuantizer quantizer(spec);
  const auto fill = [&](std::size_t row, std::size_t group, float* residuals) {
    const quant::GroupRange range{ranges.lo(row, group), ranges.hi(row, group)};
    for (std::size_t k = 0; k < kRatios; ++k) {
      quantizer.Residual(quantizer.MapOf(Moved(range, ends, Ratio(k))),
                         weights.row(row) + group * n, n, residuals + k * n);
    }
  };
  const auto receive = [&](std::size_t row, std::size_t group, std::span<const double> losses) {
    const auto best = std::min_element(losses.begin(), losses.end()) - losses.begin();
    const quant::GroupRange range{ranges.lo(row, group), ranges.hi(row, group)};
    const auto moved = Moved(range, ends, Ratio(static_cast<std::size_t>(best)));
    ranges.lo(row, group) = moved.lo;
    ranges.hi(row, group) = moved.hi;
  };
  ForEachGroupLoss(pool, weights.rows, kRatios, fill, receive, n, gram);
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
                         MatrixView<const float> gram, const quant::Spec& spec) {
  AWQ_CHECK_EQ(weights.cols, gram.cols);
  GroupRanges ranges = FullRanges(pool, weights, spec);
  Sweep(pool, weights, gram, spec, {.lo = true, .hi = true}, ranges);
  if (spec.symmetric) return ranges;
  Sweep(pool, weights, gram, spec, {.lo = false, .hi = true}, ranges);
  Sweep(pool, weights, gram, spec, {.lo = true, .hi = false}, ranges);
  return ranges;
}

quant::QuantizedLinear MapsOf(ThreadPool& pool, const GroupRanges& ranges, const quant::Spec& spec,
                              std::size_t in_features) {
  const std::size_t groups = ranges.lo.cols();
  AWQ_CHECK_EQ(groups * spec.group_size, in_features);
  const quant::GroupQuantizer quantizer(spec);
  quant::QuantizedLinear linear{spec, Matrix<std::uint8_t>(ranges.lo.rows(), in_features),
                                Matrix<F16>(ranges.lo.rows(), groups),
                                Matrix<std::uint8_t>(ranges.lo.rows(), groups)};
  ForRows(pool, ranges.lo.rows(), [&](std::size_t row) {
    for (std::size_t group = 0; group < groups; ++group) {
      const quant::GroupMap map = quantizer.MapOf({ranges.lo(row, group), ranges.hi(row, group)});
      linear.scales(row, group) = ToF16(map.scale);
      linear.zeros(row, group) = static_cast<std::uint8_t>(map.zero);
    }
  });
  return linear;
}

}  // namespace awq::search
