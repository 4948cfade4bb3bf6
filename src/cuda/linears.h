// Linears of quantized weights on one device, by the way that is best for their shape.
#pragma once

#include "cuda/dense_product.h"
#include "cuda/device.h"
#include "cuda/linear.h"
#include "cuda/linear_choice.h"

namespace awq::cuda {

// Owns the scratch memory; one stream at a time may use it.
class Linears {
 public:
  // On `device`, which becomes this thread's. Compute capability 8.0 or newer.
  Fault Create(int device);

  // y = x W^T + bias by ChooseLinear's way. kUnsupported says what no kernel can take.
  Fault Multiply(const LinearCall& call, StreamHandle stream);
  // By that way; for tests and benchmarks. kStream takes up to 8 tokens.
  Fault MultiplyBy(const LinearChoice& choice, const LinearCall& call, StreamHandle stream);

  const DeviceInfo& device() const { return device_; }
  DenseProducts& dense() { return dense_; }

 private:
  Fault MultiplyDense(const LinearCall& call, StreamHandle stream);

  DeviceInfo device_;
  DeviceMemory sums_, arrivals_, dense_weights_, dense_scratch_;
  DenseProducts dense_;
};

}  // namespace awq::cuda
