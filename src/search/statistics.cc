#include "search/statistics.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/isa.h"
#include "math/matmul.h"
#include "search/statistics_loops.h"

namespace awq::search {
namespace {

// Long enough that a pass over the Gram matrix pays, short enough to stay in cache between passes.
constexpr std::size_t kChunkTokens = 2048;
constexpr std::size_t kColumnsPerTask = 256;

const StatisticsLoops& Loops() {
#if defined(__x86_64__)
  switch (ActiveIsa()) {
    case Isa::kAvx512:
      return avx512::kStatisticsLoops;
    case Isa::kAvx2:
      return avx2::kStatisticsLoops;
    case Isa::kBaseline:
      break;
  }
#endif
  return baseline::kStatisticsLoops;
}

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

}  // namespace

StatisticsAccumulator::StatisticsAccumulator(std::size_t in_features, Gather what) {
  sums_.max_abs.resize(in_features);
  abs_sums_.resize(in_features);
  if (what == Gather::kMagnitudes) return;
  sums_.gram = Matrix<float>(in_features, in_features, 0);
  if (in_features >= kSketchFrom) sums_.sketch = Matrix<float>(kSketchRows, in_features, 0);
}

void StatisticsAccumulator::Add(ThreadPool& pool, MatrixView<const float> x) { AddRows(pool, x); }
void StatisticsAccumulator::Add(ThreadPool& pool, MatrixView<const BF16> x) { AddRows(pool, x); }

template <class T>
void StatisticsAccumulator::AddRows(ThreadPool& pool, MatrixView<const T> x) {
  const std::size_t in_features = abs_sums_.size();
  AWQ_CHECK_EQ(x.cols, in_features);
  const std::size_t tasks = CeilDiv(in_features, kColumnsPerTask);
  std::vector<std::size_t> nonfinite(tasks);
  for (std::size_t first = 0; first < x.rows; first += kChunkTokens) {
    const auto chunk = x.Rows(first, std::min(kChunkTokens, x.rows - first));
    if (sums_.gram.rows() > 0) math::AccumulateGram(pool, chunk, sums_.gram);
    pool.ParallelFor(tasks, [&](std::size_t task, std::size_t) {
      const std::size_t column = task * kColumnsPerTask;
      ColumnSums sums{abs_sums_.data() + column, sums_.max_abs.data() + column, nullptr,
                      sums_.sketch.rows(), in_features};
      if (sums.sketch_rows > 0) sums.sketch = sums_.sketch.data() + column;
      const auto columns = chunk.Cols(column, std::min(kColumnsPerTask, in_features - column));
      nonfinite[task] += AddColumns(ColumnsOf(columns, tokens()), sums);
    });
    sums_.tokens += chunk.rows;
  }
  for (std::size_t count : nonfinite) nonfinite_ += count;
}

SiteStatistics StatisticsAccumulator::Finish() && {
  AWQ_CHECK_LT(std::size_t{0}, sums_.tokens);
  const auto tokens = static_cast<double>(sums_.tokens);
  const auto inverse = static_cast<float>(1 / tokens);
  for (float& x : sums_.gram.span()) x *= inverse;
  math::MirrorUpper(sums_.gram);
  sums_.mean_abs.reserve(abs_sums_.size());
  for (double sum : abs_sums_) sums_.mean_abs.push_back(static_cast<float>(sum / tokens));
  const auto root = static_cast<float>(1 / std::sqrt(tokens));
  for (float& x : sums_.sketch.span()) x *= root;
  return std::move(sums_);
}

}  // namespace awq::search
