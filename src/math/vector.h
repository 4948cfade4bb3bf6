// Loops over one row of floats, compiled once per instruction set. Sums are kept in 16 lanes of
// fixed order and nothing is contracted, so that every instruction set gives the same bits.
#pragma once

#include <cstddef>
#include <span>

#include "tensor/tensor.h"

namespace awq::math {

// sum_i a_i b_i
float Dot(std::span<const float> a, std::span<const float> b);
float Dot(std::span<const BF16> a, std::span<const BF16> b);

// Any float type to float or bf16. Sizes must be equal; the source need not be aligned.
void Convert(const TensorView& from, std::span<float> to);
void Convert(const TensorView& from, std::span<BF16> to);
void Convert(std::span<const float> from, std::span<BF16> to);
void Convert(std::span<const float> from, std::span<F16> to);
void Convert(std::span<const BF16> from, std::span<float> to);

void Add(std::span<const float> from, std::span<float> to);  // to += from

// out_i = x_i / sqrt(mean(x^2) + eps) * weight_i
void RmsNorm(std::span<const float> x, std::span<const float> weight, float eps,
             std::span<float> out);

// out_i = silu(gate_i) * up_i, silu(g) = g / (1 + exp(-g))
void SiluMul(std::span<const float> gate, std::span<const float> up, std::span<float> out);

void Multiply(std::span<float> x, float factor);
void Multiply(std::span<float> x, std::span<const float> factors);

float Max(std::span<const float> x);  // not for empty x

// x_i = exp(scale * (x_i - max)), in place; returns their sum. scale > 0.
float ExpSum(std::span<float> x, float scale, float max);
inline float ExpSum(std::span<float> x, float scale) { return ExpSum(x, scale, Max(x)); }

// x_i = exp(scale * x_i) / sum, in place, whatever the range.
void Softmax(std::span<float> x, float scale);

// log(sum_i exp(x_i)), accurate for any range.
double LogSumExp(std::span<const float> x);

// sum_i p_i ln(p_i / q_i) for p and q the softmax of `p_logits` and `q_logits`, in nats. Equal
// logits give exactly 0; a logit that is not finite gives one that is not.
double KlDivergence(std::span<const float> p_logits, std::span<const float> q_logits);

// The first place of the largest value; 0 where the largest is no number. Not for empty x.
std::size_t ArgMax(std::span<const float> x);

// Rotates pairs (x_i, x_{i + half}) by the angles whose cosines and sines are given [half].
void Rotate(std::span<float> x, std::span<const float> cosines, std::span<const float> sines);

}  // namespace awq::math
