// Group scales refitted to codes that are rounded already: the same bytes, less error.
#pragma once

#include <span>
#include <vector>

#include "base/threads.h"
#include "quant/quantized_linear.h"
#include "tensor/tensor.h"

namespace awq::search {

// M = H + diag(added): what an error d of a row of weights costs is d M d^T.
struct RefitMetric {
  MatrixView<const float> gram;  // H [in, in]
  std::span<const float> added;  // [in]
};

// Groups of a row beyond which nothing is refitted: a row's system has their square of numbers.
inline constexpr std::size_t kMostRefittedGroups = 2048;

// With codes and zero points as they are a row of `linear` is sum_g scale_g v_g, v_g the codes of
// group g less their zero point, divided by `scale`: the row's loss (w - sum_g scale_g v_g) M
// (...)^T is a quadratic form of its scales. Each in turn becomes the number of fp16 that makes it
// least, over and over until none changes (or 16 times): no step loses. A group of nothing keeps
// its scale. weights [out, in], unscaled. Returns the losses of the rows, all less w M w^T.
std::vector<double> RefitScales(ThreadPool& pool, MatrixView<const float> weights,
                                std::span<const float> scale, const RefitMetric& metric,
                                quant::QuantizedLinear& linear);

}  // namespace awq::search
