// The norm before the head, fitted to a quantized model.
#pragma once

#include <cstddef>
#include <span>

#include "base/threads.h"
#include "model/config.h"
#include "pipeline/hidden_states.h"

namespace awq::pipeline {

// Multiplies each channel of `weight` [hidden_size] by sum(x q) / sum(q^2), over tokens, for x and
// q the channel of the original's and the quantized model's final hidden states, normalized without
// a weight: the least squares of what the head reads.
void RefitNorm(ThreadPool& pool, const model::ModelConfig& config, std::size_t tokens,
               const HiddenStates& original, const HiddenStates& quantized,
               std::span<float> weight);

}  // namespace awq::pipeline
