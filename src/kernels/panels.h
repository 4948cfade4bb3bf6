// A quantized linear, rearranged once so that memory streams through dot products of 16 rows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/threads.h"
#include "kernels/int8_loops.h"
#include "quant/quantized_linear.h"
#include "tensor/tensor.h"

namespace awq::kernels {

// Rows of floats as blocks of int8 codes with a scale each.
class Int8Activations {
 public:
  // x [tokens, in_features]; block_inputs divides in_features.
  void Assign(ThreadPool& pool, MatrixView<const float> x, std::size_t block_inputs);

  void Clear() { tokens_ = 0; }

  std::size_t tokens() const { return tokens_; }
  std::size_t block_inputs() const { return block_inputs_; }

 private:
  friend class Panels;
  std::size_t tokens_ = 0;
  std::size_t in_features_ = 0;
  std::size_t block_inputs_ = 0;
  Buffer<std::int8_t> codes_;  // [tokens, in_features]
  Buffer<float> scales_;       // [tokens, blocks]
  Buffer<std::int32_t> sums_;  // [tokens, blocks]
};

class Panels {
 public:
  static constexpr int kMostBits = 4;
  // Codes of up to kMostBits in groups of a multiple of 8, in order, with scales of 16 bits.
  static bool CanHold(const quant::QuantizedLinear& linear);
  // Precondition: CanHold.
  Panels(ThreadPool& pool, const quant::QuantizedLinear& linear);

  std::size_t out_features() const { return out_features_; }
  std::size_t in_features() const { return in_features_; }
  // What the activations' blocks must be: the largest divisor of a group up to kMostBlockInputs
  // that is a multiple of 8.
  std::size_t block_inputs() const { return block_inputs_; }
  std::size_t bytes() const;

  // y [tokens, out_features] = x W^T, the same bits for any instruction set and number of threads.
  void Apply(ThreadPool& pool, const Int8Activations& x, MatrixView<float> y) const;
  // With the loops of a set of one's choice.
  void ApplyWith(const Int8Loops& loops, ThreadPool& pool, const Int8Activations& x,
                 MatrixView<float> y) const;

 private:
  void FillPanel(const quant::QuantizedLinear& linear, std::size_t panel);
  void ApplyPanel(const Int8Loops& loops, std::size_t panel, const Int8Activations& x,
                  MatrixView<float> y) const;
  std::size_t groups() const { return in_features_ / group_size_; }
  std::size_t panels() const;

  std::size_t out_features_ = 0;
  std::size_t in_features_ = 0;
  std::size_t group_size_ = 0;
  std::size_t block_inputs_ = 0;
  bool scales_are_bf16_ = false;
  // Panel after panel, as Int8Panel has them; rows beyond out_features are zero.
  Buffer<std::uint8_t> codes_;
  Buffer<std::uint16_t> scales_;
  Buffer<std::uint8_t> zeros_;
};

// The sets of instructions that this CPU has loops for, best first; names for messages and tests.
struct Int8Row {
  const char* name;
  const Int8Loops* loops;
};
std::vector<Int8Row> Int8Rows();

}  // namespace awq::kernels
