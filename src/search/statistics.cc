#include "search/statistics.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <type_traits>
#include <utility>

#include "base/isa.h"
#include "math/matmul.h"
#include "math/vector.h"
#include "search/statistics_loops.h"

namespace awq::search {
namespace {

// Long enough that a pass over the Gram matrix pays, short enough to stay in cache between passes.
constexpr std::size_t kChunkTokens = 2048;
constexpr std::size_t kColumnsPerTask = 256;

const StatisticsLoops& Loops() { return AWQ_TABLE_FOR(ActiveIsa(), kStatisticsLoops); }

std::size_t AddColumns(const TokenColumns<float>& tokens, const ColumnSums& sums) {
  return Loops().add_f32(tokens, sums);
}
std::size_t AddColumns(const TokenColumns<std::uint16_t>& tokens, const ColumnSums& sums) {
  return Loops().add_bf16(tokens, sums);
}

TokenColumns<float> ColumnsOf(MatrixView<const float> x, std::size_t first_token) {
  return {x.data, x.stride, x.rows, x.cols, first_token};
}
TokenColumns<std::uint16_t> ColumnsOf(MatrixView<const BF16> x, std::size_t first_token) {
  return {&x.data->bits, x.stride, x.rows, x.cols, first_token};
}

void Subtract(const float* a, const float* b, std::size_t n, float* out) {
  for (std::size_t i = 0; i < n; ++i) out[i] = a[i] - b[i];
}
void Subtract(const BF16* a, const BF16* b, std::size_t n, BF16* out) {
  constexpr std::size_t kPiece = 512;
  std::array<float, kPiece> left;
  std::array<float, kPiece> right;
  for (std::size_t first = 0; first < n; first += kPiece) {
    const std::size_t count = std::min(kPiece, n - first);
    math::Convert(std::span(a + first, count), std::span(left).first(count));
    math::Convert(std::span(b + first, count), std::span(right).first(count));
    Subtract(left.data(), right.data(), count, left.data());
    math::Convert(std::span<const float>(left).first(count), std::span(out + first, count));
  }
}

// to += a^T b
template <class T>
void AccumulateProduct(ThreadPool& pool, MatrixView<const T> a, MatrixView<const T> b,
                       MatrixView<float> to) {
  math::ParallelMatMul(pool, math::Transposed(a), math::Plain(b), a.rows, to, /*accumulate=*/true);
}

// rows weights^T in the type of the arithmetic
template <class T>
Matrix<T> Projected(ThreadPool& pool, MatrixView<const T> rows, MatrixView<const T> weights) {
  Matrix<float> outputs(rows.rows, weights.rows);
  math::ApplyWeights(pool, rows, weights, outputs);
  if constexpr (std::is_same_v<T, float>) {
    return outputs;
  } else {
    Matrix<T> rounded(outputs.rows(), outputs.cols());
    pool.ParallelFor(outputs.rows(), [&](std::size_t r, std::size_t) {
      math::Convert(std::span<const float>(outputs.row(r), outputs.cols()),
                    std::span(rounded.row(r), rounded.cols()));
    });
    return rounded;
  }
}

// Returns the number of infinities and NaNs.
template <class T>
std::size_t Append(MatrixView<const T> rows, Matrix<float>& to) {
  std::size_t nonfinite = 0;
  Matrix<float> longer(to.rows() + rows.rows, rows.cols);
  std::copy(to.span().begin(), to.span().end(), longer.data());
  for (std::size_t r = 0; r < rows.rows; ++r) {
    float* row = longer.row(to.rows() + r);
    for (std::size_t i = 0; i < rows.cols; ++i) {
      if constexpr (std::is_same_v<T, BF16>) {
        row[i] = ToFloat(rows(r, i));
      } else {
        row[i] = rows(r, i);
      }
      nonfinite += std::isfinite(row[i]) ? 0U : 1U;
    }
  }
  to = std::move(longer);
  return nonfinite;
}

}  // namespace

StatisticsAccumulator::StatisticsAccumulator(std::size_t in_features, Gather what) {
  sums_.max_abs.resize(in_features);
  abs_sums_.resize(in_features);
  if (what == Gather::kMagnitudes) return;
  sums_.gram = Matrix<float>(in_features, in_features, 0);
  if (what == Gather::kSequential || in_features >= kSketchFrom) {
    sums_.sketch = Matrix<float>(kSketchRows, in_features, 0);
  }
}

void StatisticsAccumulator::Add(ThreadPool& pool, MatrixView<const float> x) { AddRows(pool, x); }
void StatisticsAccumulator::Add(ThreadPool& pool, MatrixView<const BF16> x) { AddRows(pool, x); }
void StatisticsAccumulator::Add(ThreadPool& pool, MatrixView<const float> x,
                                MatrixView<const float> targets) {
  AddPairs(pool, x, targets);
}
void StatisticsAccumulator::Add(ThreadPool& pool, MatrixView<const BF16> x,
                                MatrixView<const BF16> targets) {
  AddPairs(pool, x, targets);
}
void StatisticsAccumulator::HoldOut(MatrixView<const float> x, MatrixView<const float> targets) {
  Keep(x, targets);
}
void StatisticsAccumulator::HoldOut(MatrixView<const BF16> x, MatrixView<const BF16> targets) {
  Keep(x, targets);
}

template <class T>
void StatisticsAccumulator::AddToSums(ThreadPool& pool, MatrixView<const T> x,
                                      std::size_t first_token, std::vector<double>& abs_sums,
                                      std::vector<float>& max_abs, Matrix<float>& sketch) {
  const std::size_t in_features = abs_sums.size();
  const std::size_t tasks = CeilDiv(in_features, kColumnsPerTask);
  std::vector<std::size_t> nonfinite(tasks);
  pool.ParallelFor(tasks, [&](std::size_t task, std::size_t) {
    const std::size_t column = task * kColumnsPerTask;
    ColumnSums sums{abs_sums.data() + column, max_abs.data() + column, nullptr, sketch.rows(),
                    in_features};
    if (sums.sketch_rows > 0) sums.sketch = sketch.data() + column;
    const auto columns = x.Cols(column, std::min(kColumnsPerTask, in_features - column));
    nonfinite[task] = AddColumns(ColumnsOf(columns, first_token), sums);
  });
  for (std::size_t count : nonfinite) nonfinite_ += count;
}

template <class T>
void StatisticsAccumulator::AddRows(ThreadPool& pool, MatrixView<const T> x) {
  AWQ_CHECK_EQ(x.cols, abs_sums_.size());
  for (std::size_t first = 0; first < x.rows; first += kChunkTokens) {
    const auto chunk = x.Rows(first, std::min(kChunkTokens, x.rows - first));
    if (sums_.gram.rows() > 0) math::AccumulateGram(pool, chunk, sums_.gram);
    AddToSums(pool, chunk, tokens(), abs_sums_, sums_.max_abs, sums_.sketch);
    sums_.tokens += chunk.rows;
  }
}

template <class T>
void StatisticsAccumulator::BeginPairs(std::size_t in_features, MatrixView<const T> projection) {
  AWQ_CHECK_EQ(tokens(), std::size_t{0});  // pairs, or none
  if (projection.rows > 0) {
    AWQ_CHECK_EQ(projection.cols, in_features);
    sums_.projected = Matrix<float>(projection.rows, in_features, 0);
  } else {
    sums_.cross = Matrix<float>(in_features, in_features, 0);
  }
  sums_.target_sketch = Matrix<float>(kSketchRows, in_features, 0);
  target_max_abs_.resize(in_features);
  target_abs_sums_.resize(in_features);
}

template <class T>
void StatisticsAccumulator::AddPairs(ThreadPool& pool, MatrixView<const T> x,
                                     MatrixView<const T> targets) {
  AWQ_CHECK_EQ(targets.rows, x.rows);
  AWQ_CHECK_EQ(targets.cols, x.cols);
  MatrixView<const T> projection;
  Matrix<T>* scratch = nullptr;
  if constexpr (std::is_same_v<T, BF16>) {
    projection = projection_bf16_;
    scratch = &difference_bf16_;
  } else {
    projection = projection_f32_;
    scratch = &difference_f32_;
  }
  if (sums_.target_sketch.rows() == 0) BeginPairs(x.cols, projection);
  Matrix<T>& difference = *scratch;
  const std::size_t most = std::min(kChunkTokens, x.rows);
  if (difference.rows() < most) difference = Matrix<T>(most, x.cols);
  for (std::size_t first = 0; first < x.rows; first += kChunkTokens) {
    const std::size_t count = std::min(kChunkTokens, x.rows - first);
    pool.ParallelFor(count, [&](std::size_t t, std::size_t) {
      Subtract(targets.row(first + t), x.row(first + t), x.cols, difference.row(t));
    });
    const MatrixView<const T> minus = difference.view().Rows(0, count);
    const MatrixView<const T> inputs = x.Rows(first, count);
    if (projection.rows > 0) {
      const Matrix<T> outputs = Projected(pool, minus, projection);
      AccumulateProduct<T>(pool, outputs, inputs, sums_.projected);
    } else {
      AccumulateProduct(pool, minus, inputs, sums_.cross);
    }
    AddToSums(pool, targets.Rows(first, count), tokens() + first, target_abs_sums_, target_max_abs_,
              sums_.target_sketch);
  }
  AddRows(pool, x);
}

template <class T>
void StatisticsAccumulator::Keep(MatrixView<const T> x, MatrixView<const T> targets) {
  nonfinite_ += Append(x, sums_.held_out.inputs);
  if (targets.rows > 0) nonfinite_ += Append(targets, sums_.held_out.targets);
}

SiteStatistics StatisticsAccumulator::Finish() && {
  AWQ_CHECK_LT(std::size_t{0}, sums_.tokens);
  const auto tokens = static_cast<double>(sums_.tokens);
  const auto inverse = static_cast<float>(1 / tokens);
  for (float& x : sums_.gram.span()) x *= inverse;
  for (float& x : sums_.cross.span()) x *= inverse;
  for (float& x : sums_.projected.span()) x *= inverse;
  math::MirrorUpper(sums_.gram);
  sums_.mean_abs.reserve(abs_sums_.size());
  for (double sum : abs_sums_) sums_.mean_abs.push_back(static_cast<float>(sum / tokens));
  const auto root = static_cast<float>(1 / std::sqrt(tokens));
  for (float& x : sums_.sketch.span()) x *= root;
  for (float& x : sums_.target_sketch.span()) x *= root;
  return std::move(sums_);
}

}  // namespace awq::search
