#include "cuda/launch.cuh"
#include "cuda/sample.cuh"

namespace awq::cuda {

Fault Sample(const SampleTask& task, StreamHandle stream) {
  return LaunchSample(DeviceLauncher(stream), task);
}

}  // namespace awq::cuda
