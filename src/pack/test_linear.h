// Random linears, and the parts of a format as a file would hold them.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

#include "pack/format.h"

namespace awq::pack::testing {

// What every format can hold: zeros from 1 on, scales that 8 bits of mantissa hold in any dtype.
// `extreme`: all zeros, and every finite scale of the dtype but 0.
inline quant::QuantizedLinear RandomLinear(const Form& form, unsigned seed, bool extreme = false) {
  std::mt19937 random(seed);
  quant::QuantizedLinear linear{form.spec,
                                Matrix<std::uint8_t>(form.out_features, form.in_features),
                                Matrix<float>(form.out_features, form.groups()),
                                Matrix<std::uint8_t>(form.out_features, form.groups())};
  linear.spec.group_size = form.group_size();
  const auto codes = static_cast<unsigned>(form.spec.max_code()) + 1;
  for (auto& code : linear.codes.span()) code = static_cast<std::uint8_t>(random() % codes);
  for (auto& zero : linear.zeros.span()) {
    const unsigned least = extreme ? 0 : 1;
    zero = static_cast<std::uint8_t>(least + random() % (codes - least));
    if (form.spec.symmetric) zero = static_cast<std::uint8_t>(form.spec.mid_code());
  }
  for (auto& scale : linear.scales.span()) {
    const auto bits = static_cast<std::uint16_t>(1 + random() % 0x7bff);
    scale = static_cast<float>(128 + random() % 128) * 0x1p-14F;
    if (!extreme) continue;
    scale = form.spec.scale_dtype == DType::kF16
                ? ToFloat(F16{bits})
                : ToFloat(BF16{static_cast<std::uint16_t>(1 + random() % 0x7f7f)});
  }
  if (form.spec.act_order) {
    for (std::size_t k = 0; k < form.in_features; ++k) {
      linear.group_of.push_back(static_cast<std::uint32_t>(k / form.group_size()));
    }
    std::shuffle(linear.group_of.begin(), linear.group_of.end(), random);
  }
  return linear;
}

inline std::vector<TensorView> Views(const std::vector<PackedPart>& parts) {
  std::vector<TensorView> views;
  for (const PackedPart& part : parts) {
    views.push_back({part.info.dtype, part.info.shape, part.bytes.span()});
  }
  return views;
}

inline Form FormOf(const quant::QuantizedLinear& linear) {
  return {linear.out_features(), linear.in_features(), linear.spec};
}

template <class T>
bool SameBytes(const Matrix<T>& a, const Matrix<T>& b) {
  return a.rows() == b.rows() && a.cols() == b.cols() &&
         std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

inline void ExpectEqual(const quant::QuantizedLinear& a, const quant::QuantizedLinear& b) {
  EXPECT_EQ(a.spec, b.spec);
  EXPECT_TRUE(SameBytes(a.codes, b.codes));
  EXPECT_TRUE(SameBytes(a.zeros, b.zeros));
  EXPECT_TRUE(SameBytes(a.scales, b.scales));
  EXPECT_EQ(a.group_of, b.group_of);
}

inline bool SameParts(const std::vector<PackedPart>& a, const std::vector<TensorView>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const PackedPart& x, const TensorView& y) {
                      return x.info.dtype == y.dtype && x.info.shape == y.shape &&
                             x.bytes.size() == y.bytes.size() &&
                             std::memcmp(x.bytes.data(), y.bytes.data(), x.bytes.size()) == 0;
                    });
}

}  // namespace awq::pack::testing
