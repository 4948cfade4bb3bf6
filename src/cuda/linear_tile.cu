#include "cuda/launch.cuh"
#include "cuda/linear_kernels.h"
#include "cuda/linear_tile.cuh"

namespace awq::cuda {
namespace {

static_assert(kTileBlocksEach * kTileThreads * sizeof(TileSums<64>) <= kSumsBytesEach);

template <class T>
Fault Launch(const LinearCall& call, const Workspace& work, int tile_tokens, int multiprocessors,
             const DeviceLauncher& launcher) {
  switch (tile_tokens) {
    case 16:
      return LaunchTile<T, 16>(launcher, call, work, multiprocessors);
    case 32:
      return LaunchTile<T, 32>(launcher, call, work, multiprocessors);
    default:
      return LaunchTile<T, 64>(launcher, call, work, multiprocessors);
  }
}

}  // namespace

Fault TileLinear(const LinearCall& call, const Workspace& work, int tile_tokens,
                 int multiprocessors, StreamHandle stream) {
  const DeviceLauncher launcher(stream);
  return call.x_type == Float::kHalf
             ? Launch<Half>(call, work, tile_tokens, multiprocessors, launcher)
             : Launch<Bfloat16>(call, work, tile_tokens, multiprocessors, launcher);
}

}  // namespace awq::cuda
