// Token ids -> the first hidden states.
#pragma once

#include <awq/result.h>

#include <cstdint>
#include <span>

#include "tensor/tensor.h"

namespace awq::transformer {

// Error: an id outside the vocabulary.
Status CheckTokens(std::span<const std::int32_t> tokens, std::size_t vocab_size);

// embedding [vocab, width] of any float type -> hidden [tokens, width]. Error: an id outside it.
Status Embed(const TensorView& embedding, std::span<const std::int32_t> tokens,
             MatrixView<float> hidden);

}  // namespace awq::transformer
