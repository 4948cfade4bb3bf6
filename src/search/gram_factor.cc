#include "search/gram_factor.h"

#include <Eigen/Cholesky>
#include <Eigen/Core>
#include <algorithm>
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

std::vector<std::uint32_t> ByDiagonal(MatrixView<const float> gram) {
  std::vector<std::uint32_t> order(gram.cols);
  std::iota(order.begin(), order.end(), 0U);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::uint32_t a, std::uint32_t b) { return gram(a, a) < gram(b, b); });
  return order;
}

void CopyDamped(ThreadPool& pool, MatrixView<const float> gram, double added, GramFactor& factor) {
  pool.ParallelFor(gram.rows, [&](std::size_t i, std::size_t) {
    const float* from = gram.row(factor.order[i]);
    float* to = factor.lower.row(i);
    for (std::size_t j = 0; j <= i; ++j) to[j] = from[factor.order[j]];
    to[i] += static_cast<float>(added);
  });
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
    negated = Matrix<float>(n - below, width);
    pool.ParallelFor(CeilDiv(n - below, kBlock), [&](std::size_t task, std::size_t) {
      const std::size_t row = task * kBlock;
      const std::size_t rows = std::min(kBlock, n - below - row);
      FloatMap panel = MapOf(m, below + row, first, rows, width);
      // X L^T = A, row by row.
      const RowMajor solved = diagonal.triangularView<Eigen::Lower>()
                                  .solve(panel.cast<double>().transpose())
                                  .transpose();
      panel = solved.cast<float>();
      MapOf(negated, row, 0, rows, width) = -panel;
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

}  // namespace

GramFactor FactorGram(ThreadPool& pool, MatrixView<const float> gram, double damping) {
  AWQ_CHECK_EQ(gram.rows, gram.cols);
  const std::size_t n = gram.cols;
  double trace = 0;
  for (std::size_t i = 0; i < n; ++i) trace += static_cast<double>(gram(i, i));
  const double mean = trace > 0 ? trace / static_cast<double>(n) : 1.0;
  GramFactor factor{ByDiagonal(gram), Matrix<float>(n, n), damping};
  for (;;) {
    CopyDamped(pool, gram, factor.damping * mean, factor);
    if (Factor(pool, factor.lower)) return factor;
    factor.damping = std::max(4 * factor.damping, 1e-4);
  }
}

double DampingFor(std::size_t in_features, std::size_t tokens) {
  AWQ_CHECK_LT(std::size_t{0}, tokens);
  return std::clamp(0.6 * static_cast<double>(in_features) / static_cast<double>(tokens), 0.01,
                    0.3);
}

}  // namespace awq::search
