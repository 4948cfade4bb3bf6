#include "search/gptq.h"

#include <algorithm>
#include <vector>

#include "base/checked.h"
#include "base/isa.h"
#include "math/matmul.h"
#include "search/feedback_loops.h"
#include "search/long_tasks.h"

namespace awq::search {
namespace {

constexpr std::size_t kBlock = 128;

const FeedbackLoops& Loops() { return AWQ_TABLE_FOR(ActiveIsa(), kFeedbackLoops); }

// What all rows share, in the factor's order.
struct Ordered {
  std::vector<float> added;
  std::vector<float> scale;
  std::vector<std::uint32_t> group;

  Ordered(const GramFactor& factor, std::span<const float> by_channel, std::size_t group_size) {
    for (const std::uint32_t channel : factor.order) {
      added.push_back(factor.added[channel]);
      scale.push_back(by_channel[channel]);
      group.push_back(static_cast<std::uint32_t>(channel / group_size));
    }
  }
};

// Matrices [channel, row] of one worker, their channels in the factor's order. Large, so they go
// from task to task.
struct Scratch {
  Matrix<float> weights;
  Matrix<float> errors;    // w - w'
  Matrix<float> feedback;  // of one block of channels
  std::vector<std::uint8_t> codes;

  void Reserve(std::size_t channels, std::size_t rows) {
    if (weights.rows() > 0) return;
    weights = Matrix<float>(channels, rows);
    errors = Matrix<float>(channels, rows);
    feedback = Matrix<float>(kBlock, rows);
    codes.resize(kBlock * kFeedbackLanes);
  }
};

// Rows [first, first + count), as many as the scratch has; missing ones are zero.
class RowTask {
 public:
  RowTask(MatrixView<const float> weights, const GramFactor& factor, const Ordered& ordered,
          quant::QuantizedLinear& linear, std::size_t first, std::size_t count, Scratch& scratch)
      : factor_(factor),
        ordered_(ordered),
        linear_(linear),
        first_(first),
        count_(count),
        rows_(RoundUp(count, kFeedbackLanes)),
        weights_(scratch.weights.view().Cols(0, rows_)),
        errors_(scratch.errors.view().Cols(0, rows_)),
        feedback_(scratch.feedback.view().Cols(0, rows_)),
        codes_(scratch.codes),
        losses_(rows_) {
    for (std::size_t lanes = 0; lanes < rows_; lanes += kFeedbackLanes) {
      for (std::size_t k = 0; k < weights.cols; k += kBlock) {
        Transpose(weights, lanes, k, std::min(kBlock, weights.cols - k));
      }
    }
    for (std::size_t lanes = 0; lanes < rows_; lanes += kFeedbackLanes) ReadMaps(lanes);
  }

  // d H d^T of the rows.
  void Go(std::span<double> losses) {
    const std::size_t n = weights_.rows;
    for (std::size_t end = n; end > 0;) {
      const std::size_t begin = (end - 1) / kBlock * kBlock;
      const std::size_t width = end - begin;
      const MatrixView<float> feedback = feedback_.Rows(0, width);
      if (end < n) {
        // sum over the rounded channels j of e_j L_jk
        const MatrixView<const float> errors = errors_.Rows(end, n - end);
        const MatrixView<const float> lower =
            factor_.lower.view().Rows(end, n - end).Cols(begin, width);
        math::MatMul(math::Transposed(lower), math::Plain(errors), n - end, feedback);
      } else {
        for (std::size_t k = 0; k < width; ++k) std::fill_n(feedback.row(k), rows_, 0.0F);
      }
      for (std::size_t lanes = 0; lanes < rows_; lanes += kFeedbackLanes) {
        RoundBlock(begin, width, lanes);
      }
      end = begin;
    }
    std::copy_n(losses_.begin(), count_, losses.begin());
  }

 private:
  // Some channels of kFeedbackLanes rows: both sides stay in cache.
  void Transpose(MatrixView<const float> weights, std::size_t lanes, std::size_t begin,
                 std::size_t width) {
    for (std::size_t r = lanes; r < lanes + kFeedbackLanes; ++r) {
      const float* row = r < count_ ? weights.row(first_ + r) : nullptr;
      for (std::size_t k = begin; k < begin + width; ++k) {
        weights_(k, r) = row != nullptr ? row[factor_.order[k]] : 0.0F;
      }
    }
  }

  // Steps and zeros of some rows, [group][lane].
  void ReadMaps(std::size_t lanes) {
    const std::size_t groups = linear_.groups();
    Matrix<float> steps(groups, kFeedbackLanes, 1.0F);
    Matrix<float> zeros(groups, kFeedbackLanes, 0.0F);
    for (std::size_t r = lanes; r < std::min(lanes + kFeedbackLanes, count_); ++r) {
      for (std::size_t g = 0; g < groups; ++g) {
        steps(g, r - lanes) = linear_.scales(first_ + r, g);
        zeros(g, r - lanes) = static_cast<float>(linear_.zeros(first_ + r, g));
      }
    }
    steps_.push_back(std::move(steps));
    zeros_.push_back(std::move(zeros));
  }

  void RoundBlock(std::size_t begin, std::size_t width, std::size_t lanes) {
    Loops().round({.width = width,
                   .stride = weights_.stride,
                   .lower = factor_.lower.row(begin) + begin,
                   .lower_stride = factor_.lower.cols(),
                   .added = ordered_.added.data() + begin,
                   .scale = ordered_.scale.data() + begin,
                   .group = ordered_.group.data() + begin,
                   .steps = steps_[lanes / kFeedbackLanes].data(),
                   .zeros = zeros_[lanes / kFeedbackLanes].data(),
                   .max_code = static_cast<float>(linear_.spec.max_code()),
                   .weights = weights_.row(begin) + lanes,
                   .feedback = feedback_.data + lanes,
                   .errors = errors_.row(begin) + lanes,
                   .codes = codes_.data(),
                   .losses = losses_.data() + lanes});
    for (std::size_t r = lanes; r < std::min(lanes + kFeedbackLanes, count_); ++r) {
      std::uint8_t* codes = linear_.codes.row(first_ + r);
      for (std::size_t k = 0; k < width; ++k) {
        codes[factor_.order[begin + k]] = codes_[k * kFeedbackLanes + r - lanes];
      }
    }
  }

  const GramFactor& factor_;
  const Ordered& ordered_;
  quant::QuantizedLinear& linear_;
  std::size_t first_;
  std::size_t count_;
  std::size_t rows_;  // with padding
  MatrixView<float> weights_;
  MatrixView<float> errors_;
  MatrixView<float> feedback_;
  std::vector<std::uint8_t>& codes_;
  std::vector<double> losses_;
  std::vector<Matrix<float>> steps_;  // by kFeedbackLanes rows
  std::vector<Matrix<float>> zeros_;
};

}  // namespace

std::vector<double> RoundWithFeedback(ThreadPool& pool, MatrixView<const float> weights,
                                      std::span<const float> scale, const GramFactor& factor,
                                      quant::QuantizedLinear& linear) {
  AWQ_CHECK_EQ(weights.rows, linear.out_features());
  AWQ_CHECK_EQ(weights.cols, linear.in_features());
  AWQ_CHECK_EQ(weights.cols, factor.order.size());
  AWQ_CHECK_EQ(weights.cols, scale.size());
  const Ordered ordered(factor, scale, linear.spec.group_size);
  std::vector<double> losses(weights.rows);
  std::vector<Scratch> scratch(pool.size());
  const std::size_t rows = RoundUp(RowsPerLongTask(weights.rows), kFeedbackLanes);
  pool.ParallelFor(CeilDiv(weights.rows, rows), [&](std::size_t task, std::size_t worker) {
    const std::size_t first = task * rows;
    const std::size_t count = std::min(rows, weights.rows - first);
    scratch[worker].Reserve(weights.cols, rows);
    RowTask(weights, factor, ordered, linear, first, count, scratch[worker])
        .Go(std::span(losses).subspan(first, count));
  });
  return losses;
}

}  // namespace awq::search
