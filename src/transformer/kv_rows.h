// Cached keys and values, written, and computed with as they are. The loops are compiled once per
// instruction set and give the same bits on every one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "tensor/tensor.h"
#include "transformer/kv_loops.h"

namespace awq::transformer {

std::size_t ElementBytes(KvElement element);

// The rows of the tokens from `token` on.
KvRows From(const KvRows& rows, std::size_t token);

// To nearest; what is beyond the range becomes the largest, NaN stays.
void Round(std::span<const float> x, std::span<F16> to);
// To nearest, symmetric: x_i is about codes_i times the scale that is returned, max |x| / 127. NaN
// where a value is not finite.
float Round(std::span<const float> x, std::span<std::int8_t> codes);

// As floats, or rounded to bf16, [tokens, head_dim]; of kInt8 the codes, without their scales.
void Read(const KvRows& rows, MatrixView<float> to);
void Read(const KvRows& rows, MatrixView<BF16> to);
// scores [heads, tokens] = queries [heads, head_dim] times the keys of as many tokens.
void Score(const KvRows& keys, MatrixView<const float> queries, MatrixView<float> scores);
// out [heads, head_dim] += weights [heads, tokens] times the values of as many tokens.
void Mix(const KvRows& values, MatrixView<const float> weights, MatrixView<float> out);

}  // namespace awq::transformer
