// Cached keys and values of 16 or 8 bits, written, and computed with as they are. The loops are
// compiled once per instruction set and give the same bits on every one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "tensor/tensor.h"
#include "transformer/narrow_loops.h"

namespace awq::transformer {

// The rows of the tokens from `token` on.
NarrowRows From(const NarrowRows& rows, std::size_t token);

// To nearest; what is beyond the range becomes the largest, NaN stays.
void Round(std::span<const float> x, std::span<F16> to);
// To nearest, symmetric: x_i is about codes_i times the scale that is returned, max |x| / 127. NaN
// where a value is not finite.
float Round(std::span<const float> x, std::span<std::int8_t> codes);

// As floats, [tokens, head_dim].
void Read(const NarrowRows& rows, MatrixView<float> to);
// scores [heads, tokens] = queries [heads, head_dim] times the keys of as many tokens.
void Score(const NarrowRows& keys, MatrixView<const float> queries, MatrixView<float> scores);
// out [heads, head_dim] = weights [heads, tokens] times the values of as many tokens.
void Mix(const NarrowRows& values, MatrixView<const float> weights, MatrixView<float> out);

}  // namespace awq::transformer
