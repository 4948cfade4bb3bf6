#include "cuda/launch.cuh"
#include "cuda/linear_kernels.h"
#include "cuda/linear_stream.cuh"

namespace awq::cuda {

static_assert(kStreamBlocksEach * 2 * kStreamSums * sizeof(float) <= kSumsBytesEach);
static_assert((1 << 20) / kPanelRows <= kMostArrivals);

Fault StreamLinear(const LinearCall& call, const Workspace& work, int multiprocessors,
                   StreamHandle stream) {
  const DeviceLauncher launcher(stream);
  return call.x_type == Float::kHalf
             ? LaunchStream<Half>(launcher, call, work, multiprocessors)
             : LaunchStream<Bfloat16>(launcher, call, work, multiprocessors);
}

}  // namespace awq::cuda
