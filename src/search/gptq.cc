#include "search/gptq.h"

#include <algorithm>
#include <vector>

#include "math/matmul.h"
#include "quant/group.h"

namespace awq::search {
namespace {

constexpr std::size_t kRowsPerTask = 64;
constexpr std::size_t kBlock = 128;

// Rows [first, first + count), their channels in the factor's order.
class RowTask {
 public:
  RowTask(MatrixView<const float> weights, std::span<const float> scale, const GramFactor& factor,
          quant::QuantizedLinear& linear, std::size_t first, std::size_t count)
      : weights_(weights),
        scale_(scale),
        factor_(factor),
        linear_(linear),
        first_(first),
        errors_(count, weights.cols),
        feedback_(count, kBlock) {}

  // d H d^T of the rows.
  void Go(std::span<double> losses) {
    const std::size_t n = weights_.cols;
    for (std::size_t end = n; end > 0;) {
      const std::size_t begin = (end - 1) / kBlock * kBlock;
      const std::size_t width = end - begin;
      const MatrixView<float> feedback(feedback_.data(), errors_.rows(), width, kBlock);
      if (end < n) {
        // sum over the rounded channels j of e_j L_jk
        const MatrixView<const float> errors = errors_.view().Cols(end, n - end);
        const MatrixView<const float> lower =
            factor_.lower.view().Rows(end, n - end).Cols(begin, width);
        math::MatMul(math::Plain(errors), math::Plain(lower), n - end, feedback);
      } else {
        for (std::size_t r = 0; r < feedback.rows; ++r) std::fill_n(feedback.row(r), width, 0.0F);
      }
      for (std::size_t r = 0; r < feedback.rows; ++r) {
        losses[r] += RoundBlock(r, begin, end, feedback.row(r));
      }
      end = begin;
    }
  }

 private:
  double RoundBlock(std::size_t r, std::size_t begin, std::size_t end, float* feedback) {
    const std::size_t group_size = linear_.spec.group_size;
    const auto max_code = static_cast<float>(linear_.spec.max_code());
    const float* weights = weights_.row(first_ + r);
    const F16* scales = linear_.scales.row(first_ + r);
    const std::uint8_t* zeros = linear_.zeros.row(first_ + r);
    std::uint8_t* codes = linear_.codes.row(first_ + r);
    double loss = 0;
    for (std::size_t k = end; k-- > begin;) {
      const float* lower = factor_.lower.row(k);
      const std::size_t channel = factor_.order[k];
      const float s = scale_[channel];
      const float target = weights[channel] + feedback[k - begin] / lower[k];
      const float step = ToFloat(scales[channel / group_size]);
      const auto zero = static_cast<float>(zeros[channel / group_size]);
      const float code = quant::CodeOf(target * s, step, zero, max_code);
      codes[channel] = static_cast<std::uint8_t>(code);
      const float rounded = (code - zero) * step / s;
      const float error = weights[channel] - rounded;
      errors_(r, k) = error;
      // The damped loss is the sum of these squares: e L = L_kk (target - rounded) in column k.
      const double part = static_cast<double>((target - rounded) * lower[k]);
      loss += part * part - static_cast<double>(factor_.added[channel]) *
                                static_cast<double>(error) * static_cast<double>(error);
      for (std::size_t i = begin; i < k; ++i) feedback[i - begin] += error * lower[i];
    }
    return loss;
  }

  MatrixView<const float> weights_;
  std::span<const float> scale_;
  const GramFactor& factor_;
  quant::QuantizedLinear& linear_;
  std::size_t first_;
  Matrix<float> errors_;    // [rows, in]: w - w', in the factor's order
  Matrix<float> feedback_;  // [rows, block]
};

}  // namespace

std::vector<double> RoundWithFeedback(ThreadPool& pool, MatrixView<const float> weights,
                                      std::span<const float> scale, const GramFactor& factor,
                                      quant::QuantizedLinear& linear) {
  AWQ_CHECK_EQ(weights.rows, linear.out_features());
  AWQ_CHECK_EQ(weights.cols, linear.in_features());
  AWQ_CHECK_EQ(weights.cols, factor.order.size());
  AWQ_CHECK_EQ(weights.cols, scale.size());
  std::vector<double> losses(weights.rows);
  pool.ParallelFor(CeilDiv(weights.rows, kRowsPerTask), [&](std::size_t task, std::size_t) {
    const std::size_t first = task * kRowsPerTask;
    const std::size_t count = std::min(kRowsPerTask, weights.rows - first);
    RowTask(weights, scale, factor, linear, first, count)
        .Go(std::span(losses).subspan(first, count));
  });
  return losses;
}

}  // namespace awq::search
