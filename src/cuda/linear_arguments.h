// What the kernels of linears are given.
#pragma once

#include "cuda/linear.h"
#include "cuda/simt.h"
#include "cuda/weights.h"

namespace awq::cuda {

struct LinearArguments {
  const uint4* codes;
  const uint4* scales;  // 8 a group and panel, one for each row % 8
  const uint2* zeros;   // likewise
  const void* x;
  void* y;
  const float* bias;
  Float y_type;
  int tokens, inputs, outputs, y_stride;
  int group_inputs, groups;
  int panels, units;
  std::uint32_t group_inverse;  // ceil(2^31 * 32 / group_inputs)

  // The group of inputs 32 i and on. Exact: i and the quotient's error stay below 2^15 and 2^-16.
  __device__ __forceinline__ int GroupOf(int i) const {
    return static_cast<int>(static_cast<std::uint64_t>(i) * group_inverse >> 31);
  }
};

inline std::uint32_t InverseOf(int divisor) {
  const auto d = static_cast<std::uint32_t>(divisor);
  return ((1u << 31) + d - 1) / d;
}

inline LinearArguments ArgumentsOf(const LinearCall& call) {
  const WeightShape& shape = call.weights.shape;
  const WeightLayout layout = LayOut(shape);
  return {static_cast<const uint4*>(call.weights.codes),
          static_cast<const uint4*>(call.weights.scales),
          static_cast<const uint2*>(call.weights.zeros),
          call.x,
          call.y,
          call.bias,
          call.y_type,
          call.tokens,
          shape.inputs,
          shape.outputs,
          call.OutputStride(),
          shape.group_inputs,
          layout.groups,
          layout.panels,
          layout.units,
          InverseOf(shape.group_inputs / 32)};
}

// y[token][row], where both exist.
template <class T>
__device__ __forceinline__ void WriteOutput(const LinearArguments& args, int token, int row,
                                            float value) {
  if (token >= args.tokens || row >= args.outputs) {
    return;
  }
  const float y = args.bias == nullptr ? value : value + args.bias[row];
  const std::size_t at = static_cast<std::size_t>(token) * static_cast<std::size_t>(args.y_stride) +
                         static_cast<std::size_t>(row);
  if (args.y_type == Float::kSingle) {
    static_cast<float*>(args.y)[at] = y;
  } else {
    static_cast<T*>(args.y)[at] = FromFloat<T>(y);
  }
}

}  // namespace awq::cuda
