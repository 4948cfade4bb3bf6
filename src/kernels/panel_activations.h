// What packed weights are multiplied by: tokens' inputs as the loops over panels want them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/threads.h"
#include "kernels/panel_rows.h"
#include "math/matmul.h"
#include "tensor/tensor.h"

namespace awq::kernels {

inline bool operator==(const Int8Blocks& a, const Int8Blocks& b) {
  return a.group_inputs == b.group_inputs && a.block_inputs == b.block_inputs;
}

// Rows of floats as blocks of int8 codes with a scale each.
class Int8Activations {
 public:
  // For the loops of one set; it must outlive this.
  explicit Int8Activations(const PanelRow& set = PanelRows().front()) : set_(&set) {}

  // x [tokens, in_features]; groups divide in_features, and blocks groups.
  void Assign(ThreadPool& pool, MatrixView<const float> x, const Int8Blocks& blocks);
  void Clear() { tokens_ = 0; }

  std::size_t tokens() const { return tokens_; }
  const Int8Blocks& blocks() const { return blocks_; }

 private:
  friend class Panels;
  const PanelRow* set_;
  std::size_t tokens_ = 0;
  std::size_t in_features_ = 0;
  Int8Blocks blocks_;
  Buffer<std::int8_t> codes_;  // [tokens, in_features]
  Buffer<float> scales_;       // [tokens, blocks]
  Buffer<float> sums_;         // [tokens, groups]
};

// Rows of floats as they are, or rounded to bf16, with the sum of each group.
class ExactActivations {
 public:
  explicit ExactActivations(const PanelRow& set = PanelRows().front()) : set_(&set) {}

  // x [tokens, in_features]; group_inputs divides in_features and is a multiple of 8.
  void Assign(ThreadPool& pool, MatrixView<const float> x, math::Precision precision,
              std::size_t group_inputs);
  void Clear() { tokens_ = 0; }

  std::size_t tokens() const { return tokens_; }
  std::size_t group_inputs() const { return group_inputs_; }

 private:
  friend class Panels;
  void AssignRow(const float* x, std::size_t token);

  const PanelRow* set_;
  math::Precision precision_ = math::Precision::kF32;
  std::size_t tokens_ = 0;
  std::size_t in_features_ = 0;
  std::size_t group_inputs_ = 0;
  bool in_pairs_ = false;
  Buffer<float> floats_;         // [tokens, in_features]; or
  Buffer<std::uint16_t> pairs_;  // the same, where the set multiplies bf16
  Buffer<float> sums_;           // [tokens, groups]
};

}  // namespace awq::kernels
