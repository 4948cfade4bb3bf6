// A quantized linear, rearranged once so that memory streams through dot products of 16 rows.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>

#include "base/threads.h"
#include "kernels/panel_activations.h"
#include "kernels/panel_rows.h"
#include "quant/quantized_linear.h"
#include "tensor/tensor.h"

namespace awq::kernels {

class Panels {
 public:
  static constexpr int kMostBits = 8;
  // Codes of up to kMostBits in groups of a multiple of 8, in order, with scales of 16 bits.
  static bool CanHold(const quant::QuantizedLinear& linear);
  static bool CanHold(const quant::Spec& spec, std::size_t in_features);
  // Precondition: CanHold.
  Panels(ThreadPool& pool, const quant::QuantizedLinear& linear);
  // The same of a linear whose rows are read a stripe at a time, from any thread: read(first_row,
  // rows) fills `rows`, whose sizes are right. Its first error is passed on.
  using ReadRows = std::function<Status(std::size_t first_row, quant::QuantizedLinear& rows)>;
  static Result<Panels> FromRows(ThreadPool& pool, const quant::Spec& spec, const Shape& shape,
                                 const ReadRows& read);
  // Dense weights [out, in] rounded to nearest, 16 rows at a time. Preconditions: 16-bit scales,
  // groups of a multiple of 8, and what quant::CheckSpec asks for. Error: a weight that is not
  // finite, or a group whose scale is beyond its type; `name` is the tensor's.
  static Result<Panels> Rounded(ThreadPool& pool, const TensorView& weight, const quant::Spec& spec,
                                std::string_view name);

  std::size_t out_features() const { return out_features_; }
  std::size_t in_features() const { return in_features_; }
  std::size_t group_inputs() const { return group_size_; }
  // What blocks of int8 activations must be: the largest divisor of a group up to kMostBlockInputs
  // that is a multiple of 8, or of 32 where codes are stored in 3 bits.
  Int8Blocks int8_blocks() const { return {group_size_, block_inputs_}; }
  std::size_t bytes() const;

  // y [tokens, out_features] = x W^T, the same bits for any number of threads; with int8 and with
  // floats for any instruction set, too.
  void Apply(ThreadPool& pool, const Int8Activations& x, MatrixView<float> y) const;
  void Apply(ThreadPool& pool, const ExactActivations& x, MatrixView<float> y) const;

 private:
  Panels(std::size_t out_features, std::size_t in_features, const quant::Spec& spec,
         std::size_t group_size);
  // From rows [first_row, first_row + 16), as far as there are such.
  void FillPanel(const quant::QuantizedLinear& linear, std::size_t first_row, std::size_t panel);
  void FillRow(const std::uint8_t* codes, std::size_t inputs, std::uint8_t* to) const;
  PanelWeights WeightsOf(std::size_t panel) const;
  // multiply(weights, first_token, outputs) for each panel, up to kMostTokens tokens at a time.
  template <class Multiply>
  void ForPanels(ThreadPool& pool, MatrixView<float> y, const Multiply& multiply) const;
  std::size_t panel_code_bytes() const { return kPanelRows * in_features_ * bits_ / 8; }
  std::size_t groups() const { return in_features_ / group_size_; }
  std::size_t panels() const;

  std::size_t out_features_ = 0;
  std::size_t in_features_ = 0;
  std::size_t group_size_ = 0;
  std::size_t bits_ = 4;  // that a code is stored in: 3, 4 or 8
  std::size_t block_inputs_ = 0;
  bool scales_are_bf16_ = false;
  // Panel after panel, as PanelWeights has them; rows beyond out_features are zero.
  Buffer<std::uint8_t> codes_;
  Buffer<std::uint16_t> scales_;
  Buffer<std::uint8_t> zeros_;
};

}  // namespace awq::kernels
