#include "search/scale_search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "math/matmul.h"
#include "math/vector.h"
#include "quant/group.h"
#include "search/gram_loss.h"

namespace awq::search {
namespace {

constexpr double kSmallestScale = 1e-4;  // the published floor
constexpr float kSmallestNormalHalf = 0x1p-14F;
constexpr float kLargestHalf = 65504;
constexpr std::size_t kBlockBytes = std::size_t{16} << 20;
constexpr std::size_t kRowsPerTask = 32;

// A block of residual rows and its product with the sketch, both bounded.
template <class T>
struct SketchScratch {
  Matrix<T> residual;      // [rows, in]
  Matrix<float> products;  // [rows, sketch rows]
  std::vector<double> parts;

  SketchScratch(std::size_t features, std::size_t sketch_rows) {
    const std::size_t rows =
        std::max<std::size_t>(256, kBlockBytes / (sizeof(T) * features) / 256 * 256);
    residual = Matrix<T>(rows, features);
    products = Matrix<float>(rows, sketch_rows);
  }
};

// || sketch D^T ||^2 for rows [first, first + count) of one linear.
template <class T>
double BlockLoss(ThreadPool& pool, MatrixView<const float> weights, std::span<const float> scale,
                 MatrixView<const T> sketch, const quant::GroupQuantizer& quantizer,
                 SketchScratch<T>& scratch) {
  const std::size_t tasks = CeilDiv(weights.rows, kRowsPerTask);
  const auto for_rows = [&](const auto& body) {
    pool.ParallelFor(tasks, [&](std::size_t task, std::size_t) {
      body(task, task * kRowsPerTask, std::min(weights.rows, (task + 1) * kRowsPerTask));
    });
  };
  for_rows([&](std::size_t, std::size_t first, std::size_t end) {
    for (std::size_t r = first; r < end; ++r) {
      quantizer.ScaledResidual(weights.row(r), scale.data(), weights.cols, scratch.residual.row(r));
    }
  });
  const auto residual = scratch.residual.view().Rows(0, weights.rows);
  const auto products = scratch.products.view().Rows(0, weights.rows);
  math::ParallelMatMul(pool, math::Plain(MatrixView<const T>(residual)), math::Transposed(sketch),
                       weights.cols, products);
  scratch.parts.assign(tasks, 0);
  for_rows([&](std::size_t task, std::size_t first, std::size_t end) {
    for (std::size_t r = first; r < end; ++r) {
      const std::span<const float> row(products.row(r), products.cols);
      scratch.parts[task] += static_cast<double>(math::Dot(row, row));
    }
  });
  return std::accumulate(scratch.parts.begin(), scratch.parts.end(), 0.0);
}

template <class T>
std::vector<double> SketchLosses(ThreadPool& pool, const ScaledLinears& linears,
                                 std::span<const Scale> candidates, MatrixView<const T> sketch) {
  const quant::GroupQuantizer quantizer(linears.spec);
  SketchScratch<T> scratch(sketch.cols, sketch.rows);
  std::vector<double> losses(candidates.size());
  for (const MatrixView<const float>& weights : linears.weights) {
    for (std::size_t first = 0; first < weights.rows; first += scratch.residual.rows()) {
      const auto block =
          weights.Rows(first, std::min(scratch.residual.rows(), weights.rows - first));
      for (std::size_t k = 0; k < candidates.size(); ++k) {
        losses[k] += BlockLoss(pool, block, candidates[k], sketch, quantizer, scratch);
      }
    }
  }
  return losses;
}

}  // namespace

Scale NormalizeScale(std::span<const double> scale) {
  const auto [least, most] = std::minmax_element(scale.begin(), scale.end());
  Scale normalized;
  normalized.reserve(scale.size());
  for (double s : scale) {
    const auto value = static_cast<float>(s / std::sqrt(*most * *least));
    normalized.push_back(std::clamp(RoundToF16(value), kSmallestNormalHalf, kLargestHalf));
  }
  return normalized;
}

Scale ActivationScale(std::span<const float> mean_abs, double alpha) {
  std::vector<double> scale;
  scale.reserve(mean_abs.size());
  for (float mean : mean_abs) {
    scale.push_back(std::max(std::pow(static_cast<double>(mean), alpha), kSmallestScale));
  }
  return NormalizeScale(scale);
}

std::vector<float> MeansOfReadChannels(std::span<const float> mean_abs,
                                       std::span<const MatrixView<const float>> weights) {
  std::vector<std::size_t> unread(mean_abs.size());
  std::iota(unread.begin(), unread.end(), std::size_t{0});
  for (const MatrixView<const float>& each : weights) {
    for (std::size_t r = 0; r < each.rows && !unread.empty(); ++r) {
      std::erase_if(unread, [row = each.row(r)](std::size_t c) { return row[c] != 0; });
    }
  }
  std::vector<float> means(mean_abs.begin(), mean_abs.end());
  for (const std::size_t c : unread) means[c] = 0;
  const float largest = means.empty() ? 0 : *std::max_element(means.begin(), means.end());
  for (const std::size_t c : unread) means[c] = largest;
  return means;
}

double ExactScaleLoss(ThreadPool& pool, const ScaledLinears& linears, std::span<const float> scale,
                      MatrixView<const float> gram) {
  const quant::GroupQuantizer quantizer(linears.spec);
  double loss = 0;
  for (const MatrixView<const float>& weights : linears.weights) {
    const auto fill = [&](std::size_t row, float* residual) {
      quantizer.ScaledResidual(weights.row(row), scale.data(), weights.cols, residual);
    };
    loss += GramLoss(pool, weights.rows, fill, gram);
  }
  return loss;
}

std::vector<double> ExactScaleLosses(ThreadPool& pool, const ScaledLinears& linears,
                                     std::span<const Scale> candidates,
                                     MatrixView<const float> gram) {
  std::vector<double> losses;
  for (const Scale& scale : candidates) {
    losses.push_back(ExactScaleLoss(pool, linears, scale, gram));
  }
  return losses;
}

std::vector<double> SketchScaleLosses(ThreadPool& pool, const ScaledLinears& linears,
                                      std::span<const Scale> candidates,
                                      MatrixView<const float> sketch) {
  if (!math::HasFastBF16()) return SketchLosses(pool, linears, candidates, sketch);
  Matrix<BF16> rounded(sketch.rows, sketch.cols);
  for (std::size_t r = 0; r < sketch.rows; ++r) {
    math::Convert({sketch.row(r), sketch.cols}, {rounded.row(r), rounded.cols()});
  }
  return SketchLosses<BF16>(pool, linears, candidates, rounded);
}

ScaleSelection SelectScale(const ScaleLosses& estimate, const ScaleLosses& exact,
                           std::span<const Scale> candidates, const ScreeningOptions& options) {
  std::vector<std::size_t> order(candidates.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  if (estimate) {
    std::vector<double> estimates = estimate(candidates);
    for (double& loss : estimates) {
      if (std::isnan(loss)) loss = std::numeric_limits<double>::infinity();
    }
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return estimates[a] < estimates[b]; });
    order.resize(std::min(order.size(), options.finalists));
    order.push_back(options.always);
    std::sort(order.begin(), order.end());
    order.erase(std::unique(order.begin(), order.end()), order.end());
  }
  std::vector<Scale> finalists;
  for (const std::size_t k : order) finalists.push_back(candidates[k]);
  const std::vector<double> losses = exact(finalists);
  ScaleSelection selection;
  selection.losses.assign(candidates.size(), std::numeric_limits<double>::quiet_NaN());
  selection.exact_evaluations = order.size();
  selection.best = options.always;
  double best_loss = std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < order.size(); ++i) {
    selection.losses[order[i]] = losses[i];
    if (losses[i] < best_loss) {
      best_loss = losses[i];
      selection.best = order[i];
    }
  }
  return selection;
}

}  // namespace awq::search
