// Linears of quantized weights on one device, by the way that is best for their shape.
#pragma once

#include "cuda/dense_product.h"
#include "cuda/device.h"
#include "cuda/linear.h"
#include "cuda/linear_choice.h"

namespace awq::cuda {

// kUnsupported: older than what the kernels are made for.
Fault CheckCapability(const DeviceInfo& device);

// Owns the scratch memory; one stream at a time may use it.
class Linears {
 public:
  // On `device`, which becomes this thread's. Compute capability 8.0 or newer.
  Fault Create(int device);

  // Makes what the dense way else makes when it is first taken: up to 128 MiB or so of scratch
  // memory for weights of up to `most_inputs` inputs, and the library. A Graph cannot record that,
  // nor keep its place in memory: call it before, with the most inputs that any call will have.
  Fault Reserve(int most_inputs);

  // y = x W^T + bias by ChooseLinear's way. kUnsupported says what no kernel can take.
  Fault Multiply(const LinearCall& call, StreamHandle stream);
  // By that way, where the device has it; for tests and benchmarks. kStream takes up to 8 tokens.
  Fault MultiplyBy(const LinearChoice& choice, const LinearCall& call, StreamHandle stream);

  const DeviceInfo& device() const { return device_; }
  bool HasWgmma() const;
  DenseProducts& dense() { return dense_; }

 private:
  bool HasDense();
  Fault MultiplyDense(const LinearCall& call, StreamHandle stream);

  DeviceInfo device_;
  DeviceMemory sums_, arrivals_, dense_weights_, dense_scratch_;
  DenseProducts dense_;
  bool was_dense_sought_ = false;
};

}  // namespace awq::cuda
