#include "search/awq.h"

#include <algorithm>
#include <limits>

#include "base/for_rows.h"
#include "quant/group.h"
#include "search/gram_loss.h"
#include "search/scale_search.h"

namespace awq::search {
namespace {

constexpr std::size_t kAlphas = 20;
constexpr std::size_t kClips = 10;

float ClipFraction(std::size_t choice) {
  return static_cast<float>(1 - static_cast<double>(choice) / 20);
}

double AlphaOf(std::size_t k) { return static_cast<double>(k) / static_cast<double>(kAlphas); }

std::vector<Scale> PublishedGrid(std::span<const float> mean_abs,
                                 std::span<const MatrixView<const float>> weights) {
  const std::vector<float> means = MeansOfReadChannels(mean_abs, weights);
  std::vector<Scale> candidates;
  for (std::size_t k = 0; k < kAlphas; ++k) {
    candidates.push_back(ActivationScale(means, AlphaOf(k)));
  }
  return candidates;
}

}  // namespace

ScaleChoice SearchScale(ThreadPool& pool, std::span<const MatrixView<const float>> weights,
                        const SiteStatistics& statistics, const quant::Spec& spec,
                        const SearchOptions& options) {
  const ScaledLinears linears{weights, spec};
  for (const MatrixView<const float>& each : weights) {
    AWQ_CHECK_EQ(each.cols, statistics.gram.cols());
    AWQ_CHECK_EQ(each.cols % spec.group_size, std::size_t{0});
  }
  ScaleLosses estimate;
  if (statistics.sketch.rows() > 0) {
    estimate = [&](std::span<const Scale> scales) {
      return SketchScaleLosses(pool, linears, scales, statistics.sketch);
    };
  }
  const auto exact = [&](std::span<const Scale> scales) {
    return ExactScaleLosses(pool, linears, scales, statistics.gram);
  };
  return SearchScale(estimate, exact, statistics.mean_abs, weights, options);
}

ScaleChoice SearchScale(const ScaleLosses& estimate, const ScaleLosses& exact,
                        std::span<const float> mean_abs,
                        std::span<const MatrixView<const float>> weights,
                        const SearchOptions& options) {
  std::vector<Scale> candidates = PublishedGrid(mean_abs, weights);
  const bool screened = mean_abs.size() >= options.exact_below;
  const ScaleSelection selection =
      SelectScale(screened ? estimate : ScaleLosses(), exact, candidates,
                  {.always = 0, .finalists = options.finalists});
  return {.scale = std::move(candidates[selection.best]),
          .alpha = AlphaOf(selection.best),
          .loss = selection.losses[selection.best],
          .identity_loss = selection.losses[0],
          .exact_evaluations = selection.exact_evaluations};
}

ScaleChoice EstimateScale(ThreadPool& pool, std::span<const MatrixView<const float>> weights,
                          const SiteStatistics& statistics, const quant::Spec& spec) {
  return EstimateScale(
      [&](std::span<const Scale> scales) {
        return SketchScaleLosses(pool, {weights, spec}, scales, statistics.sketch);
      },
      statistics.mean_abs, weights);
}

ScaleChoice EstimateScale(const ScaleLosses& estimate_losses, std::span<const float> mean_abs,
                          std::span<const MatrixView<const float>> weights) {
  // Every third of the grid, then the neighbours of the best: the curve has one valley.
  std::vector<Scale> candidates = PublishedGrid(mean_abs, weights);
  std::vector<double> losses(candidates.size(), std::numeric_limits<double>::infinity());
  const auto estimate = [&](const std::vector<std::size_t>& places) {
    std::vector<Scale> scales;
    for (const std::size_t place : places) scales.push_back(candidates[place]);
    const std::vector<double> found = estimate_losses(scales);
    for (std::size_t i = 0; i < places.size(); ++i) losses[places[i]] = found[i];
  };
  constexpr std::size_t kStep = 3;
  std::vector<std::size_t> places;
  for (std::size_t k = 0; k < kAlphas; k += kStep) places.push_back(k);
  estimate(places);
  const auto best_place = [&] {
    return static_cast<std::size_t>(std::ranges::min_element(losses) - losses.begin());
  };
  const std::size_t center = best_place();
  places.clear();
  for (std::size_t k = center - std::min(center, kStep - 1); k < std::min(kAlphas, center + kStep);
       ++k) {
    if (k != center) places.push_back(k);
  }
  estimate(places);
  const std::size_t best = best_place();
  return {.scale = std::move(candidates[best]),
          .alpha = AlphaOf(best),
          .loss = losses[best],
          .identity_loss = losses[0],
          .exact_evaluations = 0};
}

Clip SearchClip(ThreadPool& pool, MatrixView<const float> weights, MatrixView<const float> gram,
                const quant::Spec& spec, std::span<const float> scale) {
  AWQ_CHECK_EQ(weights.cols, gram.cols);
  const std::size_t n = spec.group_size;
  const std::size_t groups = weights.cols / n;
  const quant::GroupQuantizer quantizer(spec);
  Clip clip{Matrix<float>(weights.rows, groups), Matrix<std::uint8_t>(weights.rows, groups)};
  const auto fill = [&](std::size_t row, std::size_t group, float* residuals) {
    const float* w = weights.row(row) + group * n;
    const quant::GroupRange range = quantizer.Range(w, n);
    const float largest = range.largest_magnitude();
    for (std::size_t k = 0; k < kClips; ++k) {
      float* residual = residuals + k * n;
      quantizer.Residual(quantizer.MapOf(range, largest * ClipFraction(k)), w, n, residual);
      for (std::size_t i = 0; i < n && !scale.empty(); ++i) residual[i] /= scale[group * n + i];
    }
  };
  const auto receive = [&](std::size_t row, std::size_t group, std::span<const double> losses) {
    // min_element keeps the first of equals: the least clipping.
    const auto best =
        static_cast<std::size_t>(std::min_element(losses.begin(), losses.end()) - losses.begin());
    const float* w = weights.row(row) + group * n;
    clip.bound(row, group) = quantizer.Range(w, n).largest_magnitude() * ClipFraction(best);
    clip.choice(row, group) = static_cast<std::uint8_t>(best);
  };
  ForEachGroupLoss(pool, weights.rows, kClips, fill, receive, n, gram);
  return clip;
}

quant::QuantizedLinear Round(ThreadPool& pool, MatrixView<const float> weights,
                             const quant::Spec& spec, const Clip* clip) {
  AWQ_CHECK_EQ(weights.cols % spec.group_size, std::size_t{0});
  const std::size_t groups = weights.cols / spec.group_size;
  if (clip != nullptr) {
    AWQ_CHECK_EQ(clip->bound.rows(), weights.rows);
    AWQ_CHECK_EQ(clip->bound.cols(), groups);
  }
  const quant::GroupQuantizer quantizer(spec);
  quant::QuantizedLinear linear{spec, Matrix<std::uint8_t>(weights.rows, weights.cols),
                                Matrix<float>(weights.rows, groups),
                                Matrix<std::uint8_t>(weights.rows, groups)};
  ForRows(pool, weights.rows, [&](std::size_t row) {
    quantizer.QuantizeRow(weights.row(row), clip == nullptr ? nullptr : clip->bound.row(row),
                          weights.cols, linear.codes.row(row), linear.scales.row(row),
                          linear.zeros.row(row));
  });
  return linear;
}

double MeasureOutputError(ThreadPool& pool, MatrixView<const float> weights,
                          const quant::QuantizedLinear& linear, MatrixView<const float> gram) {
  AWQ_CHECK_EQ(weights.rows, linear.out_features());
  AWQ_CHECK_EQ(weights.cols, linear.in_features());
  AWQ_CHECK_EQ(weights.cols, gram.cols);
  const auto residual = [&](std::size_t row, float* d) {
    quant::Dequantize(linear, row, {d, 1, weights.cols});
    const float* w = weights.row(row);
    for (std::size_t i = 0; i < weights.cols; ++i) d[i] = w[i] - d[i];
  };
  return GramLoss(pool, weights.rows, residual, gram);
}

Matrix<float> ScaledWeights(ThreadPool& pool, MatrixView<const float> weights,
                            std::span<const float> scale) {
  AWQ_CHECK_EQ(scale.size(), weights.cols);
  Matrix<float> scaled(weights.rows, weights.cols);
  ForRows(pool, weights.rows, [&](std::size_t row) {
    const float* w = weights.row(row);
    for (std::size_t i = 0; i < scale.size(); ++i) scaled(row, i) = w[i] * scale[i];
  });
  return scaled;
}

void ScaleGram(ThreadPool& pool, std::span<const float> scale, MatrixView<const float> from,
               MatrixView<float> to) {
  AWQ_CHECK_EQ(scale.size(), from.cols);
  ForRows(pool, from.rows, [&](std::size_t row) {
    const float* h = from.row(row);
    // The product of two halves is exact, so that the result stays symmetric.
    for (std::size_t i = 0; i < scale.size(); ++i) to(row, i) = h[i] / (scale[row] * scale[i]);
  });
}

void ScaleStatistics(ThreadPool& pool, std::span<const float> scale, SiteStatistics& statistics) {
  ScaleGram(pool, scale, statistics.gram, statistics.gram);
  ForRows(pool, statistics.sketch.rows(), [&](std::size_t row) {
    float* x = statistics.sketch.row(row);
    for (std::size_t i = 0; i < scale.size(); ++i) x[i] /= scale[i];
  });
}

}  // namespace awq::search
