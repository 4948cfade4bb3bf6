// What loops over panels must give, in double, and how far off they may be.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "quant/quantized_linear.h"

namespace awq::kernels {

struct Expected {
  double value = 0;
  double error = 0;  // at most, where nothing is below the normal numbers
};

// An output from int8 codes of the inputs, whose own rounding is not counted, with a scale a block.
inline Expected ExpectInt8(const quant::QuantizedLinear& linear, std::size_t row,
                           const std::vector<std::int8_t>& x, const std::vector<float>& x_scales) {
  double value = 0;
  double magnitude = 0;  // of what is added up: codes and zero points apart
  const std::size_t group = linear.in_features() / linear.groups();
  const std::size_t block = linear.in_features() / x_scales.size();
  for (std::size_t k = 0; k < linear.in_features(); ++k) {
    const int zero = linear.zeros(row, k / group);
    const double factor = x[k] * static_cast<double>(linear.scales(row, k / group)) *
                          static_cast<double>(x_scales[k / block]);
    value += (linear.codes(row, k) - zero) * factor;
    magnitude += (linear.codes(row, k) + zero) * std::fabs(factor);
  }
  // A block's product and the sums of a group's blocks; the zero point's product, its difference,
  // the scale's product; the sums of groups: half a unit each.
  const double roundings = static_cast<double>(group / block + linear.groups()) + 5;
  return {value, roundings * 0x1p-24 * magnitude};
}

// An output from inputs as they are.
inline Expected ExpectExact(const quant::QuantizedLinear& linear, std::size_t row, const float* x) {
  double value = 0;
  double magnitude = 0;  // of what is added up: codes and zero points apart
  const std::size_t group = linear.in_features() / linear.groups();
  for (std::size_t k = 0; k < linear.in_features(); ++k) {
    const double factor = static_cast<double>(x[k]) * linear.scales(row, k / group);
    const int zero = linear.zeros(row, k / group);
    value += (linear.codes(row, k) - zero) * factor;
    magnitude += (linear.codes(row, k) + zero) * std::fabs(factor);
  }
  // Every input is in a product and in sums of at most its group, then of all groups; beside these
  // the zero point's product, its sum and the scale's.
  const double roundings = static_cast<double>(group + linear.groups()) + 6;
  return {value, roundings * 0x1p-24 * magnitude};
}

}  // namespace awq::kernels
