#include "cuda/dequantize_weights.cuh"
#include "cuda/launch.cuh"
#include "cuda/linear_kernels.h"

namespace awq::cuda {

Fault DequantizeWeights(const DeviceWeights& weights, Float type, int first_panel, int panels,
                        void* dense, StreamHandle stream) {
  const DeviceLauncher launcher(stream);
  return type == Float::kHalf
             ? LaunchDequantize<Half>(launcher, weights, first_panel, panels, dense)
             : LaunchDequantize<Bfloat16>(launcher, weights, first_panel, panels, dense);
}

Fault AddBias(const LinearCall& call, int first_row, int rows, StreamHandle stream) {
  const DeviceLauncher launcher(stream);
  switch (call.y_type) {
    case Float::kHalf:
      return LaunchAddBias<Half>(launcher, call, first_row, rows);
    case Float::kBfloat16:
      return LaunchAddBias<Bfloat16>(launcher, call, first_row, rows);
    default:
      return LaunchAddBias<float>(launcher, call, first_row, rows);
  }
}

}  // namespace awq::cuda
