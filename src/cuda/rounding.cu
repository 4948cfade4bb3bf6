#include "cuda/feedback.cuh"
#include "cuda/group_errors.cuh"
#include "cuda/launch.cuh"
#include "cuda/refit.cuh"

namespace awq::cuda {

Fault RoundGroups(const GroupTask& task, StreamHandle stream) {
  return LaunchRoundGroups(DeviceLauncher(stream), task);
}

Fault SearchClip(const ClipTask& task, StreamHandle stream) {
  return LaunchClip(DeviceLauncher(stream), task);
}

Fault AddProfile(const ProfileTask& task, StreamHandle stream) {
  return LaunchProfile(DeviceLauncher(stream), task);
}

Fault RoundingErrors(const ErrorTask& task, StreamHandle stream) {
  return LaunchRoundingErrors(DeviceLauncher(stream), task);
}

Fault RoundWithFeedback(const FeedbackTask& task, StreamHandle stream) {
  const auto rows = static_cast<std::size_t>(task.weights.rows);
  const auto columns = static_cast<std::size_t>(task.weights.columns);
  AWQ_CUDA_TRY(FillBytes(task.feedback, 0, sizeof(float) * rows * columns, stream));
  AWQ_CUDA_TRY(FillBytes(task.losses, 0, sizeof(double) * rows, stream));
  return LaunchFeedback(DeviceLauncher(stream), task);
}

Fault RefitScales(const RefitTask& task, StreamHandle stream) {
  return LaunchRefit(DeviceLauncher(stream), task);
}

Fault KeepBetterRows(const KeepTask& task, StreamHandle stream) {
  return LaunchKeepBetterRows(DeviceLauncher(stream), task);
}

}  // namespace awq::cuda
