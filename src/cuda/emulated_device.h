// A device that is none: for tests, in programs that link awq_cuda_emulated. There every function
// that otherwise the device's side has (device.h, copy.h, linear_kernels.h, dense_product.h, ops.h,
// sample.h, matrix.h, rounding.h, statistics.h) is the emulator's, with the launches' own host
// side. Its memory is the host's, of exactly the sizes that were asked for, and begins as bytes of
// 0xff, which are NaNs. What is given to a stream is done as late as a device may do it, when
// somebody waits for it: so what forgets to wait reads what is not there yet, or overwrites what is
// still to be read. A fault of a kernel is told by the wait; the default stream (null) does all at
// once. What may not be done while a stream is recorded fails here, too.
#pragma once

#include <cstddef>
#include <functional>
#include <type_traits>

#include "cuda/device.h"
#include "cuda/emulator.h"
#include "cuda/launch.h"

namespace awq::cuda {

struct EmulatedMachine {
  int devices = 1;
  std::size_t memory_bytes = std::size_t{128} << 20;  // of each device
  int multiprocessors = 3;
  int major = 9, minor = 0;       // compute capability
  bool has_dense_library = true;  // DenseProducts can be opened
  bool late_streams = true;       // or else done when it is given
  simt::Options options = {};
};

// From now on; what is allocated stays. Not while another thread uses a device.
void SetEmulatedMachine(const EmulatedMachine& machine);
const EmulatedMachine& EmulatedMachineNow();

struct EmulatedUse {
  std::size_t bytes = 0;     // allocated now, on all devices
  std::size_t launches = 0;  // of kernels and dense products so far
};
EmulatedUse CountEmulatedUse();

// Does it at its turn in the stream, unless the stream is recorded for a Graph.
Fault RunInStream(StreamHandle stream, std::function<Fault()> work);
// What a device refuses, and else the kernel.
Fault RunKernel(const LaunchShape& shape, const std::function<void()>& body);

// What launch.cuh has for nvcc.
class DeviceLauncher {
 public:
  explicit DeviceLauncher(StreamHandle stream) : stream_(stream) {}

  template <class... Parameters>
  Fault operator()(void (*kernel)(Parameters...), const LaunchShape& shape,
                   std::type_identity_t<Parameters>... arguments) const {
    return RunInStream(stream_, [=] { return RunKernel(shape, [&] { kernel(arguments...); }); });
  }

 private:
  StreamHandle stream_;
};

}  // namespace awq::cuda
