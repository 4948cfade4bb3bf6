// Rounding with error feedback (GPTQ, Frantar et al., ICLR 2023; in the form of LDLQ, Chee et al.,
// NeurIPS 2023, which is the same rounding without the inverse of H).
#pragma once

#include <span>
#include <vector>

#include "base/threads.h"
#include "quant/quantized_linear.h"
#include "search/gram_factor.h"
#include "tensor/tensor.h"

namespace awq::search {

// Sets the codes of `linear` for W diag(s) under the scales and zeros that it has ("static
// groups"): channel by channel, the one with the largest H_ii first, each rounded after the errors
// e of those before it have been added to it, e_j L_jk / L_kk. `weights` are W, unscaled, as is
// what `factor` was made of: one factor serves every s. Returns d H d^T, without the damping, for
// each row of D = W - Q diag(1/s); it costs nothing more.
std::vector<double> RoundWithFeedback(ThreadPool& pool, MatrixView<const float> weights,
                                      std::span<const float> scale, const GramFactor& factor,
                                      quant::QuantizedLinear& linear);

}  // namespace awq::search
