#include "cuda/copy.cuh"
#include "cuda/copy.h"
#include "cuda/launch.cuh"

namespace awq::cuda {

Fault CopyOnDevice(void* to, const void* from, std::size_t bytes, StreamHandle stream) {
  return LaunchCopy(DeviceLauncher(stream), to, from, bytes);
}

}  // namespace awq::cuda
