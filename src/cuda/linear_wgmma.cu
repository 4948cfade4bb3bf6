#include "cuda/launch.cuh"
#include "cuda/linear_kernels.h"
#include "cuda/linear_wgmma.cuh"

namespace awq::cuda {
namespace {

static_assert(kWgmmaSumThreads * sizeof(WgmmaSums<128>) <= kSumsBytesEach);

template <class T>
Fault Launch(const LinearCall& call, const Workspace& work, int tile_tokens, int multiprocessors,
             const DeviceLauncher& launcher) {
  switch (tile_tokens) {
    case 16:
      return LaunchWgmma<T, 16>(launcher, call, work, multiprocessors);
    case 32:
      return LaunchWgmma<T, 32>(launcher, call, work, multiprocessors);
    case 64:
      return LaunchWgmma<T, 64>(launcher, call, work, multiprocessors);
    default:
      return LaunchWgmma<T, 128>(launcher, call, work, multiprocessors);
  }
}

}  // namespace

bool HasWgmmaLinear(int capability) {
#if defined(AWQ_CUDA_SM90A) || !defined(__CUDACC__)
  return capability == 90;
#else
  return capability < 0;  // never: no machine code for it was made
#endif
}

Fault WgmmaLinear(const LinearCall& call, const Workspace& work, int tile_tokens,
                  int multiprocessors, StreamHandle stream) {
  const DeviceLauncher launcher(stream);
  return call.x_type == Float::kHalf
             ? Launch<Half>(call, work, tile_tokens, multiprocessors, launcher)
             : Launch<Bfloat16>(call, work, tile_tokens, multiprocessors, launcher);
}

}  // namespace awq::cuda
