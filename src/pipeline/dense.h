// Tensors that stay in 16 bits: written as fp16, which is what AWQ checkpoints hold.
#pragma once

#include <awq/result.h>

#include <span>
#include <string>

#include "base/threads.h"
#include "checkpoint/writer.h"
#include "pack/movement.h"
#include "tensor/tensor.h"

namespace awq::pipeline {

// Error: the first infinite or NaN value of a float tensor (names the tensor and the place).
Status CheckFinite(ThreadPool& pool, const TensorView& tensor, const std::string& name);

// Error: a value is infinite, NaN, or too large for fp16 (names the tensor and the place).
Status ToHalves(std::span<const float> values, const std::string& name, std::span<F16> halves);
// What rounding its values to fp16 does.
pack::Movement RoundedToF16(const TensorView& tensor);
Status WriteDense(checkpoint::DirectoryWriter& writer, const std::string& name,
                  const TensorView& tensor);

}  // namespace awq::pipeline
