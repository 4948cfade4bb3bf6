#include "cuda/launch.cuh"
#include "cuda/statistics.cuh"

namespace awq::cuda {

Fault AddColumns(const ColumnsTask& task, StreamHandle stream) {
  return LaunchAddColumns(DeviceLauncher(stream), task);
}

Fault AddSketch(const SketchTask& task, StreamHandle stream) {
  return LaunchAddSketch(DeviceLauncher(stream), task);
}

Fault Subtract(const DifferenceTask& task, StreamHandle stream) {
  return LaunchSubtract(DeviceLauncher(stream), task);
}

Fault Widen(const WidenTask& task, StreamHandle stream) {
  return LaunchWiden(DeviceLauncher(stream), task);
}

Fault Mirror(const MirrorTask& task, StreamHandle stream) {
  return LaunchMirror(DeviceLauncher(stream), task);
}

}  // namespace awq::cuda
