#include "search/paired_error.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "base/for_rows.h"
#include "math/matmul.h"
#include "math/vector.h"

namespace awq::search {
namespace {

// sum_ij a_ij b_ij, row by row in order.
double Product(ThreadPool& pool, const Matrix<float>& a, const Matrix<float>& b) {
  std::vector<double> parts(a.rows());
  ForRows(pool, a.rows(), [&](std::size_t r) {
    parts[r] = static_cast<double>(math::Dot(std::span<const float>(a.row(r), a.cols()),
                                             std::span<const float>(b.row(r), b.cols())));
  });
  return std::accumulate(parts.begin(), parts.end(), 0.0);
}

Matrix<BF16> Rounded(ThreadPool& pool, MatrixView<const float> from) {
  Matrix<BF16> to(from.rows, from.cols);
  ForRows(pool, from.rows, [&](std::size_t r) {
    math::Convert(std::span(from.row(r), from.cols), std::span(to.row(r), to.cols()));
  });
  return to;
}

// rows weights^T, in bf16 where the CPU multiplies it: only sums of many squares are asked for.
Matrix<float> Outputs(ThreadPool& pool, MatrixView<const float> rows,
                      MatrixView<const float> weights) {
  Matrix<float> outputs(rows.rows, weights.rows);
  if (math::HasFastBF16()) {
    const Matrix<BF16> x = Rounded(pool, rows);
    const Matrix<BF16> w = Rounded(pool, weights);
    math::ApplyWeights(pool, x, w, outputs);
  } else {
    math::ApplyWeights(pool, rows, weights, outputs);
  }
  return outputs;
}

}  // namespace

PairedError::PairedError(ThreadPool& pool, MatrixView<const float> weights, const PairedRows& rows)
    : pool_(pool), weights_(weights), rows_(rows) {
  const bool paired = rows.targets.rows() > 0;
  const Matrix<float> targets = Outputs(pool, paired ? rows.targets : rows.inputs, weights);
  energy_ = Product(pool, targets, targets);
  if (!paired) return;
  Matrix<float> difference(rows.rows(), weights.cols);
  ForRows(pool, rows.rows(), [&](std::size_t r) {
    for (std::size_t i = 0; i < weights.cols; ++i) {
      difference(r, i) = rows.targets(r, i) - rows.inputs(r, i);
    }
  });
  inherited_ = Outputs(pool, difference, weights);
}

// Some rows of W at a time: a whole copy of W would be the largest thing that is held.
double PairedError::Of(const quant::QuantizedLinear& linear, std::span<const float> scale) const {
  AWQ_CHECK_EQ(scale.size(), weights_.cols);
  constexpr std::size_t kRows = 1024;
  double sum = 0;
  Matrix<float> rounding(std::min(kRows, weights_.rows), weights_.cols);
  for (std::size_t first = 0; first < weights_.rows; first += kRows) {
    const MatrixView<float> part = rounding.view().Rows(0, std::min(kRows, weights_.rows - first));
    ForRows(pool_, part.rows, [&](std::size_t r) {
      float* row = part.row(r);
      quant::Dequantize(linear, first + r, {row, 1, weights_.cols});
      const float* w = weights_.row(first + r);
      for (std::size_t i = 0; i < weights_.cols; ++i) row[i] = w[i] - row[i] / scale[i];
    });
    Matrix<float> errors = Outputs(pool_, rows_.inputs, part);
    ForRows(pool_, inherited_.rows(), [&](std::size_t t) {
      math::Add(std::span<const float>(inherited_.row(t) + first, errors.cols()),
                std::span(errors.row(t), errors.cols()));
    });
    sum += Product(pool_, errors, errors);
  }
  return sum;
}

double PairedError::BestStep(MatrixView<const float> change) const {
  if (inherited_.rows() == 0) return 0;
  const Matrix<float> effect = Outputs(pool_, rows_.inputs, change);
  const double size = Product(pool_, effect, effect);
  return size > 0 ? std::clamp(Product(pool_, inherited_, effect) / size, 0.0, 1.0) : 0.0;
}

PairedRows SketchRows(const SiteStatistics& statistics) {
  AWQ_CHECK_LT(std::size_t{0}, statistics.sketch.rows());
  const auto copy = [](const Matrix<float>& from) {
    Matrix<float> to(from.rows(), from.cols());
    std::copy(from.span().begin(), from.span().end(), to.data());
    return to;
  };
  // A sketch's squares sum to means over the tokens, rows' to sums over themselves.
  return {copy(statistics.sketch), copy(statistics.target_sketch)};
}

}  // namespace awq::search
