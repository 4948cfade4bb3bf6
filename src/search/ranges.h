// The range in which each group is rounded, both ends chosen apart: what the published clip does
// with one bound for both.
#pragma once

#include <span>

#include "base/threads.h"
#include "quant/quantized_linear.h"
#include "tensor/tensor.h"

namespace awq::search {

// [out, groups], lo <= 0 <= hi: zero stays in every range.
struct GroupRanges {
  Matrix<float> lo;
  Matrix<float> hi;
};

// The least ranges that hold the weights and zero.
GroupRanges FullRanges(ThreadPool& pool, MatrixView<const float> weights, const quant::Spec& spec);

// Ranges with the least sum of importance_i e_i^2 over their own group, e being the rounding errors
// of W: found by moving both ends inwards together (1, 0.96, ..., 0.4 of the full range), then the
// upper end alone, then the lower one; of a symmetric spec, both ends only. Never worse than the
// full range. `weights` are those of the scaled problem, W diag(s); importance [in], by channel.
GroupRanges SearchRanges(ThreadPool& pool, MatrixView<const float> weights,
                         std::span<const float> scale, std::span<const float> importance,
                         const quant::Spec& spec);

// Scales and zeros that follow from the ranges; the codes are not set.
quant::QuantizedLinear MapsOf(ThreadPool& pool, const GroupRanges& ranges, const quant::Spec& spec,
                              std::size_t in_features);

}  // namespace awq::search
