#include "kernels/panel_activations.h"

#include <algorithm>

#include "base/check.h"

namespace awq::kernels {
namespace {

template <class T>
void Grow(Buffer<T>& buffer, std::size_t size) {
  if (buffer.size() < size) buffer = Buffer<T>(size);
}

}  // namespace

void Int8Activations::Assign(ThreadPool& pool, MatrixView<const float> x,
                             const Int8Blocks& blocks) {
  AWQ_CHECK_EQ(x.cols % blocks.group_inputs, 0U);
  AWQ_CHECK_EQ(blocks.group_inputs % blocks.block_inputs, 0U);
  tokens_ = x.rows;
  in_features_ = x.cols;
  blocks_ = blocks;
  const std::size_t scales = x.cols / blocks.block_inputs;
  const std::size_t groups = x.cols / blocks.group_inputs;
  Grow(codes_, x.rows * x.cols);
  Grow(scales_, x.rows * scales);
  Grow(sums_, x.rows * groups);
  pool.ParallelFor(tokens_, [&](std::size_t t, std::size_t) {
    set_->int8->quantize(x.row(t), groups, blocks, codes_.data() + t * x.cols,
                         scales_.data() + t * scales, sums_.data() + t * groups);
  });
}

void ExactActivations::Assign(ThreadPool& pool, MatrixView<const float> x,
                              math::Precision precision, std::size_t group_inputs) {
  AWQ_CHECK(x.cols % group_inputs == 0 && group_inputs % 8 == 0);
  precision_ = precision;
  tokens_ = x.rows;
  in_features_ = x.cols;
  group_inputs_ = group_inputs;
  in_pairs_ = precision == math::Precision::kBF16 && set_->exact->multiply_bf16 != nullptr;
  if (in_pairs_) {
    Grow(pairs_, x.rows * x.cols);
  } else {
    Grow(floats_, x.rows * x.cols);
  }
  Grow(sums_, x.rows * (x.cols / group_inputs));
  pool.ParallelFor(tokens_, [&](std::size_t t, std::size_t) { AssignRow(x.row(t), t); });
}

void ExactActivations::AssignRow(const float* x, std::size_t token) {
  const std::size_t groups = in_features_ / group_inputs_;
  float* sums = sums_.data() + token * groups;
  if (in_pairs_) {
    std::uint16_t* pairs = pairs_.data() + token * in_features_;
    return set_->exact->round_pairs(x, groups, group_inputs_, pairs, sums);
  }
  float* floats = floats_.data() + token * in_features_;
  const bool rounds = precision_ == math::Precision::kBF16;
  std::transform(x, x + in_features_, floats,
                 [&](float value) { return rounds ? ToFloat(ToBF16(value)) : value; });
  set_->exact->sum_groups(floats, groups, group_inputs_, sums);
}

}  // namespace awq::kernels
