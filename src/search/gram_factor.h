// A triangular factor of a damped Gram matrix: what rounding with error feedback needs of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/threads.h"
#include "tensor/tensor.h"

namespace awq::search {

// P (H + damping * mean(diag H) I) P^T = L L^T. `order[i]` is the channel at place i; places are
// by rising H_ii (ties by channel), so that the last place holds the largest.
struct GramFactor {
  std::vector<std::uint32_t> order;
  Matrix<float> lower;  // [in, in]; only the lower triangle is set
  double damping = 0;   // what was needed in the end, at least what was asked for
};

// The damping grows fourfold until H is positive definite; an H of zeros becomes the identity.
GramFactor FactorGram(ThreadPool& pool, MatrixView<const float> gram, double damping);

// More damping the fewer tokens there are for a channel: 0.6 in / tokens, within [0.01, 0.3].
double DampingFor(std::size_t in_features, std::size_t tokens);

}  // namespace awq::search
