// The hidden states of all calibration tokens between two blocks: the largest thing that a run
// holds, kept in the precision of the arithmetic.
#pragma once

#include <cstddef>

#include "base/threads.h"
#include "math/matmul.h"
#include "tensor/tensor.h"

namespace awq::pipeline {

class HiddenStore {
 public:
  HiddenStore(math::Precision precision, std::size_t tokens, std::size_t width);

  static std::size_t Bytes(math::Precision precision, std::size_t tokens, std::size_t width);

  HiddenStore Copy() const;
  // rows [count, width] of tokens [first, first + count)
  void Load(ThreadPool& pool, std::size_t first, MatrixView<float> rows) const;
  void Store(ThreadPool& pool, std::size_t first, MatrixView<const float> rows);

 private:
  math::Precision precision_;
  Matrix<float> f32_;
  Matrix<BF16> bf16_;
};

}  // namespace awq::pipeline
