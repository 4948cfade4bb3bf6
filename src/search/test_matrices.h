// Random matrices for the tests of this folder.
#pragma once

#include <random>

#include "tensor/tensor.h"

namespace awq::search {

// Normal, mean 0, deviation 1.
inline Matrix<float> NormalMatrix(std::size_t rows, std::size_t cols, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Matrix<float> m(rows, cols);
  for (float& x : m.span()) x = normal(random);
  return m;
}

}  // namespace awq::search
