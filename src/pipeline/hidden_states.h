// The hidden states of many tokens between two blocks: the largest thing that a run keeps.
#pragma once

#include <cstddef>

#include "base/threads.h"
#include "tensor/tensor.h"

namespace awq::pipeline {

class HiddenStates {
 public:
  virtual ~HiddenStates() = default;
  // rows [count, width] of tokens [first, first + count)
  virtual void Load(ThreadPool& pool, std::size_t first, MatrixView<float> rows) const = 0;
};

}  // namespace awq::pipeline
