// Linears of quantized weights on the device: y = x W^T + bias, with fp32 sums.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/device.h"
#include "cuda/weights.h"

namespace awq::cuda {

enum class Float { kHalf, kBfloat16, kSingle };

// Where a linear's packed weights are on the device, as weights.h has them.
struct DeviceWeights {
  WeightShape shape;
  const void* codes = nullptr;
  const void* scales = nullptr;
  const void* zeros = nullptr;
};

struct LinearCall {
  DeviceWeights weights;
  Float x_type = Float::kHalf;  // kHalf or kBfloat16: what weights are dequantized to
  const void* x = nullptr;      // [tokens][inputs], aligned to 16 bytes
  int tokens = 0;
  Float y_type = Float::kHalf;  // x's or kSingle
  void* y = nullptr;            // [tokens][outputs], a row every y_stride
  int y_stride = 0;             // elements; 0: outputs
  const float* bias = nullptr;  // [outputs], or none

  int OutputStride() const { return y_stride == 0 ? weights.shape.outputs : y_stride; }
};

// Scratch memory of kernels that put partial sums together. One stream at a time may use it.
struct Workspace {
  float* sums = nullptr;
  int* arrivals = nullptr;  // zero before the first call, and after each
};

}  // namespace awq::cuda
