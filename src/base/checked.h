// Size arithmetic on numbers that come from files.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <optional>

namespace awq {

inline std::optional<std::size_t> CheckedAdd(std::size_t a, std::size_t b) {
  std::size_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}

inline std::optional<std::size_t> CheckedProduct(std::initializer_list<std::size_t> factors) {
  std::size_t product = 1;
  for (std::size_t factor : factors) {
    if (__builtin_mul_overflow(product, factor, &product)) return std::nullopt;
  }
  return product;
}

inline std::size_t CeilDiv(std::size_t a, std::size_t b) { return a / b + (a % b != 0); }
inline std::size_t RoundUp(std::size_t a, std::size_t multiple) {
  return CeilDiv(a, multiple) * multiple;
}

}  // namespace awq
