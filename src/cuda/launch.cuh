// Launches on a stream of the current device; where nvcc does not compile it, of the emulated one.
#pragma once

#if !defined(__CUDACC__)
#include "cuda/emulated_device.h"
#else

#include <cuda_runtime_api.h>

#include <string>

#include "cuda/fault.h"
#include "cuda/launch.h"

namespace awq::cuda {

// What the runtime said of `what`; no fault where it said success.
Fault Check(cudaError_t error, const char* what);

class DeviceLauncher {
 public:
  explicit DeviceLauncher(cudaStream_t stream) : stream_(stream) {}

  template <class... Parameters, class... Arguments>
  Fault operator()(void (*kernel)(Parameters...), const LaunchShape& shape,
                   Arguments... arguments) const {
    constexpr std::size_t kWithoutAsking = 48 << 10;
    if (shape.shared_bytes > kWithoutAsking) {
      AWQ_CUDA_TRY(Check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                              static_cast<int>(shape.shared_bytes)),
                         "asking for shared memory"));
    }
    const dim3 blocks(shape.blocks.x, shape.blocks.y, shape.blocks.z);
    // clang-format off
    kernel<<<blocks, shape.threads, shape.shared_bytes, stream_>>>(arguments...);
    // clang-format on
    return Check(cudaGetLastError(), "launching a kernel");
  }

 private:
  cudaStream_t stream_;
};

}  // namespace awq::cuda

#endif
