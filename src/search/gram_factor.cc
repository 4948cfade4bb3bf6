#include "search/gram_factor.h"

#include <Eigen/Cholesky>
#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <numeric>

#include "math/matmul.h"

namespace awq::search {
namespace {

// Columns that are factored at once; all later ones are updated by a product.
constexpr std::size_t kBlock = 128;
constexpr std::size_t kTile = 512;

using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using FloatMap = Eigen::Map<Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>,
                            0, Eigen::OuterStride<>>;

FloatMap MapOf(Matrix<float>& m, std::size_t row, std::size_t col, std::size_t rows,
               std::size_t cols) {
  const auto index = [](std::size_t i) { return static_cast<Eigen::Index>(i); };
  return {&m(row, col), index(rows), index(cols), Eigen::OuterStride<>(index(m.cols()))};
}

std::vector<std::uint32_t> ByDiagonal(std::span<const float> diagonal) {
  std::vector<std::uint32_t> order(diagonal.size());
  std::iota(order.begin(), order.end(), 0U);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::uint32_t a, std::uint32_t b) { return diagonal[a] < diagonal[b]; });
  return order;
}

// added_i for a damping of 1.
std::vector<double> DampingUnits(std::span<const float> diagonal, DampingForm form) {
  constexpr double kLeastShare = 1e-9;  // of the largest H_ii
  const std::size_t n = diagonal.size();
  double largest = 0;
  for (const float power : diagonal) largest = std::max(largest, static_cast<double>(power));
  if (largest == 0) return std::vector<double>(n, 1.0);
  std::vector<double> units;
  for (const float each : diagonal) {
    const double power = static_cast<double>(each);
    units.push_back(form == DampingForm::kMean ? power
                                               : std::sqrt(std::max(power, kLeastShare * largest)));
  }
  const double mean = std::accumulate(units.begin(), units.end(), 0.0) / static_cast<double>(n);
  if (form == DampingForm::kMean) return std::vector<double>(n, mean);
  for (double& unit : units) unit *= mean;
  return units;
}

void CopyDamped(ThreadPool& pool, MatrixView<const float> gram, const GramFactor& factor,
                Matrix<float>& lower) {
  pool.ParallelFor(gram.rows, [&](std::size_t i, std::size_t) {
    const float* from = gram.row(factor.order[i]);
    float* to = lower.row(i);
    for (std::size_t j = 0; j <= i; ++j) to[j] = from[factor.order[j]];
    to[i] += factor.added[factor.order[i]];
  });
}

// The inverse of the diagonal block [first, first + width) of a lower triangle: all that is solved
// with a block is then a product.
Matrix<float> InverseOfBlock(const Matrix<float>& lower, std::size_t first, std::size_t width) {
  const auto size = static_cast<Eigen::Index>(width);
  RowMajor block = RowMajor::Zero(size, size);
  for (std::size_t i = 0; i < width; ++i) {
    for (std::size_t j = 0; j <= i; ++j) {
      block(static_cast<Eigen::Index>(i), static_cast<Eigen::Index>(j)) =
          static_cast<double>(lower(first + i, first + j));
    }
  }
  const RowMajor solved =
      block.triangularView<Eigen::Lower>().solve(RowMajor::Identity(size, size));
  Matrix<float> inverse(width, width);
  MapOf(inverse, 0, 0, width, width) = solved.cast<float>();
  return inverse;
}

// Right-looking, in place. False where a pivot is not positive.
bool Factor(ThreadPool& pool, Matrix<float>& m) {
  const std::size_t n = m.rows();
  Matrix<float> negated;
  for (std::size_t first = 0; first < n; first += kBlock) {
    const std::size_t width = std::min(kBlock, n - first);
    const Eigen::LLT<RowMajor> llt(MapOf(m, first, first, width, width).cast<double>());
    if (llt.info() != Eigen::Success) return false;
    const RowMajor diagonal = llt.matrixL();
    for (std::size_t i = 0; i < width; ++i) {
      for (std::size_t j = 0; j <= i; ++j) {
        const double value = diagonal(static_cast<Eigen::Index>(i), static_cast<Eigen::Index>(j));
        m(first + i, first + j) = static_cast<float>(value);
      }
    }
    const std::size_t below = first + width;
    if (below == n) break;
    const Matrix<float> inverse = InverseOfBlock(m, first, width);
    negated = Matrix<float>(n - below, width);
    pool.ParallelFor(CeilDiv(n - below, kBlock), [&](std::size_t task, std::size_t) {
      const std::size_t row = task * kBlock;
      const std::size_t rows = std::min(kBlock, n - below - row);
      const MatrixView<float> panel = m.view().Rows(below + row, rows).Cols(first, width);
      Matrix<float> solved(rows, width);
      math::MatMul(math::Plain(MatrixView<const float>(panel)), math::Transposed(inverse.view()),
                   width, solved);
      for (std::size_t r = 0; r < rows; ++r) {
        for (std::size_t c = 0; c < width; ++c) {
          panel(r, c) = solved(r, c);
          negated(row + r, c) = -solved(r, c);
        }
      }
    });
    const std::size_t tiles = CeilDiv(n - below, kTile);
    pool.ParallelFor(tiles * tiles, [&](std::size_t task, std::size_t) {
      const std::size_t row = task / tiles * kTile;
      const std::size_t col = task % tiles * kTile;
      if (col > row) return;
      const std::size_t rows = std::min(kTile, n - below - row);
      const std::size_t cols = std::min(kTile, n - below - col);
      const MatrixView<const float> left = negated.view().Rows(row, rows);
      const MatrixView<const float> right = m.view().Rows(below + col, cols).Cols(first, width);
      math::MatMul(math::Plain(left), math::Transposed(right), width,
                   m.view().Rows(below + row, rows).Cols(below + col, cols), /*accumulate=*/true);
    });
  }
  return true;
}

// Columns [first, first + width) of `rows`, less solved columns times their part of L, times the
// inverse of the diagonal block.
void SolveColumns(Matrix<float>& rows, std::size_t first, std::size_t width,
                  MatrixView<const float> solved, const math::Operand& factor,
                  const math::Operand& inverse) {
  Matrix<float> right(rows.rows(), width);
  for (std::size_t r = 0; r < rows.rows(); ++r) {
    for (std::size_t c = 0; c < width; ++c) right(r, c) = -rows(r, first + c);
  }
  if (solved.cols > 0) {
    math::MatMul(math::Plain(solved), factor, solved.cols, right, /*accumulate=*/true);
  }
  for (float& x : right.span()) x = -x;
  math::MatMul(math::Plain(right.view()), inverse, width, rows.view().Cols(first, width));
}

// X L L^T = B for the rows of B, in place: Y L^T = B from the first columns on, X L = Y from the
// last. `inverses`: of the diagonal blocks.
void SolveOrdered(const Matrix<float>& lower, const std::vector<Matrix<float>>& inverses,
                  Matrix<float>& rows) {
  const std::size_t n = rows.cols();
  for (std::size_t first = 0; first < n; first += kBlock) {
    const std::size_t width = std::min(kBlock, n - first);
    const auto left = lower.view().Rows(first, width).Cols(0, first);
    SolveColumns(rows, first, width, rows.view().Cols(0, first), math::Transposed(left),
                 math::Transposed(inverses[first / kBlock].view()));
  }
  for (std::size_t end = n; end > 0;) {
    const std::size_t first = (end - 1) / kBlock * kBlock;
    const auto below = lower.view().Rows(end, n - end).Cols(first, end - first);
    SolveColumns(rows, first, end - first, rows.view().Cols(end, n - end), math::Plain(below),
                 math::Plain(inverses[first / kBlock].view()));
    end = first;
  }
}

}  // namespace

std::vector<float> GramFactor::conditional_variances() const {
  std::vector<float> variances(order.size());
  for (std::size_t k = 0; k < order.size(); ++k) variances[order[k]] = lower(k, k) * lower(k, k);
  return variances;
}

GramFactor FactorDamped(std::span<const float> diagonal, double damping, DampingForm form,
                        const std::function<bool(const GramFactor&)>& factor) {
  constexpr double kFirstDamping = 1e-4;  // where none was asked for and some is needed
  const std::vector<double> units = DampingUnits(diagonal, form);
  GramFactor found{ByDiagonal(diagonal), {}, damping, std::vector<float>(diagonal.size())};
  for (;;) {
    for (std::size_t i = 0; i < units.size(); ++i) {
      found.added[i] = static_cast<float>(found.damping * units[i]);
    }
    if (factor(found)) return found;
    found.damping = std::max(4 * found.damping, kFirstDamping);
  }
}

GramFactor FactorGram(ThreadPool& pool, MatrixView<const float> gram, double damping,
                      DampingForm form) {
  AWQ_CHECK_EQ(gram.rows, gram.cols);
  std::vector<float> diagonal;
  for (std::size_t i = 0; i < gram.cols; ++i) diagonal.push_back(gram(i, i));
  Matrix<float> lower(gram.rows, gram.cols);
  GramFactor found = FactorDamped(diagonal, damping, form, [&](const GramFactor& factor) {
    CopyDamped(pool, gram, factor, lower);
    return Factor(pool, lower);
  });
  found.lower = std::move(lower);
  return found;
}

void SolveRows(ThreadPool& pool, const GramFactor& factor, MatrixView<float> rows) {
  const std::size_t n = factor.order.size();
  AWQ_CHECK_EQ(rows.cols, n);
  constexpr std::size_t kRowsPerTask = 256;
  std::vector<Matrix<float>> inverses(CeilDiv(n, kBlock));
  pool.ParallelFor(inverses.size(), [&](std::size_t block, std::size_t) {
    const std::size_t first = block * kBlock;
    inverses[block] = InverseOfBlock(factor.lower, first, std::min(kBlock, n - first));
  });
  pool.ParallelFor(CeilDiv(rows.rows, kRowsPerTask), [&](std::size_t task, std::size_t) {
    const MatrixView<float> part =
        rows.Rows(task * kRowsPerTask, std::min(kRowsPerTask, rows.rows - task * kRowsPerTask));
    Matrix<float> ordered(part.rows, n);
    for (std::size_t r = 0; r < part.rows; ++r) {
      for (std::size_t i = 0; i < n; ++i) ordered(r, i) = part(r, factor.order[i]);
    }
    SolveOrdered(factor.lower, inverses, ordered);
    for (std::size_t r = 0; r < part.rows; ++r) {
      for (std::size_t i = 0; i < n; ++i) part(r, factor.order[i]) = ordered(r, i);
    }
  });
}

double DampingFor(std::size_t in_features, std::size_t tokens) {
  AWQ_CHECK_LT(std::size_t{0}, tokens);
  return std::clamp(0.6 * static_cast<double>(in_features) / static_cast<double>(tokens), 0.01,
                    0.3);
}

}  // namespace awq::search
