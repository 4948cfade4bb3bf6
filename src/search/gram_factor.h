// A triangular factor of a damped Gram matrix: what rounding with error feedback needs of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/threads.h"
#include "tensor/tensor.h"

namespace awq::search {

// P (H + diag(added)) P^T = L L^T. `order[i]` is the channel at place i; places are by rising H_ii
// (ties by channel), so that the last place holds the largest.
struct GramFactor {
  std::vector<std::uint32_t> order;
  Matrix<float> lower;       // [in, in]; only the lower triangle is set
  double damping = 0;        // what was needed in the end, at least what was asked for
  std::vector<float> added;  // [in], by channel

  // [in], by channel: L_kk^2, the mean square of what the channels rounded after it cannot make up
  // for. Rounding with feedback leaves the sum of these times the squared error of each weight.
  std::vector<float> conditional_variances() const;
};

enum class DampingForm : std::uint8_t {
  // added_i = damping sqrt(H_ii) mean_j sqrt(H_jj): an outlier channel, which makes up most of
  // mean(H_jj), so does not drown the feedback among all others.
  kRoots,
  // added_i = damping mean_j(H_jj), as published
  kMean,
};

// The places of channels, and more and more damping until factor(added) says that it was enough:
// the rest of FactorGram, wherever the matrix is. All but `lower` is set.
GramFactor FactorDamped(std::span<const float> diagonal, double damping, DampingForm form,
                        const std::function<bool(const GramFactor&)>& factor);

// The damping grows fourfold until H is positive definite; channels without input count as tiny
// ones, and an H of zeros as the identity.
GramFactor FactorGram(ThreadPool& pool, MatrixView<const float> gram, double damping,
                      DampingForm form = DampingForm::kRoots);

// rows [m, in], in the channels' own order, become rows (H + diag(added))^-1.
void SolveRows(ThreadPool& pool, const GramFactor& factor, MatrixView<float> rows);

// More damping the fewer tokens there are for a channel: 0.6 in / tokens, within [0.01, 0.3].
double DampingFor(std::size_t in_features, std::size_t tokens);

}  // namespace awq::search
