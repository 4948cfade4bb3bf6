#include "cuda/kv_rows.cuh"
#include "cuda/launch.cuh"
#include "cuda/token_rows.cuh"

namespace awq::cuda {

Fault Embed(const EmbedTask& task, StreamHandle stream) {
  return LaunchEmbed(DeviceLauncher(stream), task);
}

Fault AddNorm(const NormTask& task, StreamHandle stream) {
  return LaunchAddNorm(DeviceLauncher(stream), task);
}

Fault Gate(const GateTask& task, StreamHandle stream) {
  return LaunchGate(DeviceLauncher(stream), task);
}

Fault RopeAndStore(const RopeTask& task, StreamHandle stream) {
  return LaunchRopeAndStore(DeviceLauncher(stream), task);
}

}  // namespace awq::cuda
