#include "search/gram_loss.h"

#include <algorithm>

#include "math/matmul.h"
#include "math/vector.h"

namespace awq::search {
namespace {

constexpr std::size_t kBlockBytes = std::size_t{32} << 20;
constexpr std::size_t kTileRows = 512;
constexpr std::size_t kTileCols = 256;
constexpr std::size_t kFillRows = 16;
// Residuals of one task of ForEachGroupLoss: with their products they stay in a core's own cache.
constexpr std::size_t kGroupTaskElements = std::size_t{96} << 10;

std::size_t RowsPerBlock(std::size_t rows, std::size_t features) {
  const std::size_t fitting = kBlockBytes / sizeof(float) / features;
  return std::min(rows, std::max(kTileRows, fitting / kTileRows * kTileRows));
}

double DotRows(MatrixView<const float> a, MatrixView<const float> b) {
  double sum = 0;
  for (std::size_t r = 0; r < a.rows; ++r) {
    sum += static_cast<double>(math::Dot({a.row(r), a.cols}, {b.row(r), b.cols}));
  }
  return sum;
}

// The part of sum d H d^T that pairs columns [col, col + cols) with themselves and with every
// earlier column, which stands for both orders.
double TileLoss(MatrixView<const float> d, MatrixView<const float> gram, std::size_t col,
                std::size_t cols, MatrixView<float> product) {
  const auto own = d.Cols(col, cols);
  const auto gram_cols = gram.Cols(col, cols);
  math::MatMul(math::Plain(own), math::Plain(gram_cols.Rows(col, cols)), cols, product);
  double loss = DotRows(product, own);
  if (col > 0) {
    math::MatMul(math::Plain(d), math::Plain(gram_cols), col, product);
    loss += 2 * DotRows(product, own);
  }
  return loss;
}

}  // namespace

double GramLoss(ThreadPool& pool, std::size_t rows, const FillRow& fill,
                MatrixView<const float> gram) {
  const std::size_t features = gram.cols;
  if (rows == 0 || features == 0) return 0;
  Matrix<float> residual(RowsPerBlock(rows, features), features);
  std::vector<Matrix<float>> products(pool.size());
  const std::size_t col_tiles = CeilDiv(features, kTileCols);
  double loss = 0;
  for (std::size_t first = 0; first < rows; first += residual.rows()) {
    const std::size_t count = std::min(residual.rows(), rows - first);
    pool.ParallelFor(CeilDiv(count, kFillRows), [&](std::size_t task, std::size_t) {
      const std::size_t end = std::min(count, (task + 1) * kFillRows);
      for (std::size_t r = task * kFillRows; r < end; ++r) fill(first + r, residual.row(r));
    });
    const std::size_t row_tiles = CeilDiv(count, kTileRows);
    std::vector<double> parts(row_tiles * col_tiles);
    pool.ParallelFor(parts.size(), [&](std::size_t task, std::size_t worker) {
      // The last columns pair with the most others: long tasks first.
      const std::size_t col = (col_tiles - 1 - task / row_tiles) * kTileCols;
      const std::size_t row = task % row_tiles * kTileRows;
      const std::size_t cols = std::min(kTileCols, features - col);
      const std::size_t tile_rows = std::min(kTileRows, count - row);
      Matrix<float>& product = products[worker];
      if (product.rows() == 0) product = Matrix<float>(kTileRows, kTileCols);
      parts[task] = TileLoss(residual.view().Rows(row, tile_rows), gram, col, cols,
                             {product.data(), tile_rows, cols});
    });
    for (double part : parts) loss += part;
  }
  return loss;
}

void ForEachGroupLoss(ThreadPool& pool, std::size_t rows, std::size_t candidates,
                      const FillGroup& fill, const ReceiveGroup& receive, std::size_t group_size,
                      MatrixView<const float> gram) {
  AWQ_CHECK(group_size > 0 && candidates > 0);
  AWQ_CHECK_EQ(gram.cols % group_size, std::size_t{0});
  const std::size_t groups = gram.cols / group_size;
  const std::size_t task_rows =
      std::clamp<std::size_t>(kGroupTaskElements / (candidates * group_size), 8, 256);
  const std::size_t row_tasks = CeilDiv(rows, task_rows);
  std::vector<Matrix<float>> scratch(pool.size());
  pool.ParallelFor(groups * row_tasks, [&](std::size_t task, std::size_t worker) {
    const std::size_t group = task / row_tasks;
    const std::size_t first = task % row_tasks * task_rows;
    const std::size_t count = std::min(task_rows, rows - first);
    const std::size_t column = group * group_size;
    if (scratch[worker].rows() == 0) {
      scratch[worker] = Matrix<float>(2 * task_rows * candidates, group_size);
    }
    const auto residuals = scratch[worker].view().Rows(0, count * candidates);
    const auto products = scratch[worker].view().Rows(count * candidates, count * candidates);
    for (std::size_t r = 0; r < count; ++r) {
      fill(first + r, group, residuals.row(r * candidates));
    }
    math::MatMul(math::Plain(residuals),
                 math::Plain(gram.Cols(column, group_size).Rows(column, group_size)), group_size,
                 products);
    std::vector<double> losses(candidates);
    for (std::size_t r = 0; r < count; ++r) {
      for (std::size_t k = 0; k < candidates; ++k) {
        const std::size_t i = r * candidates + k;
        losses[k] = static_cast<double>(
            math::Dot({residuals.row(i), group_size}, {products.row(i), group_size}));
      }
      receive(first + r, group, losses);
    }
  });
}

}  // namespace awq::search
