// Tensors that stay in 16 bits: written as fp16, which is what AWQ checkpoints hold.
#pragma once

#include <awq/result.h>

#include <span>
#include <string>

#include "checkpoint/writer.h"
#include "tensor/tensor.h"

namespace awq::pipeline {

// Error: a value is infinite, NaN, or too large for fp16 (names the tensor and the place).
Status WriteDense(checkpoint::DirectoryWriter& writer, const std::string& name,
                  std::span<const float> values);
Status WriteDense(checkpoint::DirectoryWriter& writer, const std::string& name,
                  const TensorView& tensor);

}  // namespace awq::pipeline
