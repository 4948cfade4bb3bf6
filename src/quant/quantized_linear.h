// The canonical form of a quantized linear: every file format packs and unpacks this.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tensor/tensor.h"

namespace awq::quant {

// W[n][k] ~ (codes[n][k] - zeros[n][g]) * scales[n][g], where g is the group of input feature k.
struct Spec {
  int bits = 4;
  std::size_t group_size = 128;     // in elements of in_features; -1 on the command line means all
  bool symmetric = false;           // zeros are all 2^(bits-1)
  DType scale_dtype = DType::kF16;  // of the scales in a file: F16, BF16 or F32
  // Input features choose their group ("act order"); else feature k is of group k / group_size.
  bool act_order = false;

  int max_code() const { return (1 << bits) - 1; }
  int mid_code() const { return 1 << (bits - 1); }
  friend bool operator==(const Spec&, const Spec&) = default;
};

struct QuantizedLinear {
  Spec spec;
  Matrix<std::uint8_t> codes;  // [out_features, in_features], each <= spec.max_code()
  Matrix<float> scales;        // [out_features, groups], each a value of spec.scale_dtype
  Matrix<std::uint8_t> zeros;  // [out_features, groups], each <= spec.max_code()

  std::vector<std::uint32_t> group_of = {};  // [in_features] with act_order, else empty

  std::size_t out_features() const { return codes.rows(); }
  std::size_t in_features() const { return codes.cols(); }
  std::size_t groups() const { return scales.cols(); }
};

// What takes a linear a stripe of rows at a time begins at multiples of this.
inline constexpr std::size_t kStripeRows = 256;

// Dequantizes rows [first_row, first_row + out.rows) to floats; exact where scales have
// 16 bits: the product of an integer below 256 and such a number is a float.
void Dequantize(const QuantizedLinear& linear, std::size_t first_row, MatrixView<float> out);

}  // namespace awq::quant
