#include "cuda/attention_decode.cuh"
#include "cuda/launch.cuh"

namespace awq::cuda {

Fault AttendDecode(const DecodeTask& task, StreamHandle stream) {
  return LaunchDecode(DeviceLauncher(stream), task);
}

}  // namespace awq::cuda
