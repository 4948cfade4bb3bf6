// Rounding with error feedback (GPTQ, Frantar et al., ICLR 2023; in the form of LDLQ, Chee et al.,
// NeurIPS 2023, which is the same rounding without the inverse of H).
#pragma once

#include "base/threads.h"
#include "quant/quantized_linear.h"
#include "search/gram_factor.h"
#include "tensor/tensor.h"

namespace awq::search {

// Sets the codes of `linear` under the scales and zeros that it has ("static groups"): channel by
// channel, the one with the largest H_ii first, each rounded after the errors of those before it
// have been added to it, e_j L_jk / L_kk. `weights` and `factor` are those of one problem.
void RoundWithFeedback(ThreadPool& pool, MatrixView<const float> weights, const GramFactor& factor,
                       quant::QuantizedLinear& linear);

}  // namespace awq::search
