#include "cuda/attention_prefill.cuh"
#include "cuda/launch.cuh"

namespace awq::cuda {

Fault AttendPrefill(const PrefillTask& task, StreamHandle stream) {
  return LaunchPrefill(DeviceLauncher(stream), task);
}

}  // namespace awq::cuda
