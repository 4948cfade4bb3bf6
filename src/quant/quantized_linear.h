// The canonical form of a quantized linear: every file format packs and unpacks this.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/tensor.h"

namespace awq::quant {

// W[n][k] ~ (codes[n][k] - zeros[n][k / group]) * scales[n][k / group].
struct Spec {
  int bits = 4;
  std::size_t group_size = 128;  // in elements of in_features; -1 on the command line means all
  bool symmetric = false;        // zeros are all 2^(bits-1)

  int max_code() const { return (1 << bits) - 1; }
  int mid_code() const { return 1 << (bits - 1); }
  friend bool operator==(const Spec&, const Spec&) = default;
};

struct QuantizedLinear {
  Spec spec;
  Matrix<std::uint8_t> codes;  // [out_features, in_features], each <= spec.max_code()
  Matrix<F16> scales;          // [out_features, groups]
  Matrix<std::uint8_t> zeros;  // [out_features, groups], each <= spec.max_code()

  std::size_t out_features() const { return codes.rows(); }
  std::size_t in_features() const { return codes.cols(); }
  std::size_t groups() const { return scales.cols(); }
};

// Dequantizes rows [first_row, first_row + out.rows) to floats; exact: the product of an integer
// below 256 and an fp16 number is a float.
void Dequantize(const QuantizedLinear& linear, std::size_t first_row, MatrixView<float> out);

}  // namespace awq::quant
