#include "cuda/launch.cuh"
#include "cuda/matrix_factor.cuh"

namespace awq::cuda {

Fault Multiply(const ProductTask& task, StreamHandle stream) {
  return LaunchProduct(DeviceLauncher(stream), task);
}

Fault PermuteColumns(const DeviceMatrix& from, const std::uint32_t* order, bool back,
                     const DeviceMatrix& to, StreamHandle stream) {
  return LaunchPermuteColumns(DeviceLauncher(stream), from, order, back, to);
}

Fault Combine(float a, const DeviceMatrix& x, float b, const DeviceMatrix& y,
              const DeviceMatrix& to, StreamHandle stream) {
  return LaunchCombine(DeviceLauncher(stream), a, x, b, y, to);
}

Fault SumProducts(const DeviceMatrix& x, const DeviceMatrix& y, double* parts, double* sum,
                  StreamHandle stream) {
  return LaunchSumProducts(DeviceLauncher(stream), x, y, parts, sum);
}

Fault Sum(const double* values, int count, double* sum, StreamHandle stream) {
  return LaunchSum(DeviceLauncher(stream), values, count, sum);
}

Fault FactorGram(const FactorTask& task, StreamHandle stream) {
  AWQ_CUDA_TRY(FillBytes(task.failed, 0, sizeof(int), stream));
  return LaunchFactor(DeviceLauncher(stream), task);
}

Fault SolveRows(const SolveTask& task, StreamHandle stream) {
  return LaunchSolveRows(DeviceLauncher(stream), task);
}

}  // namespace awq::cuda
