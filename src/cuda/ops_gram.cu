#include "cuda/launch.cuh"
#include "cuda/ops_gram.cuh"

namespace awq::cuda {

Fault AccumulateGram(const GramTask& task, StreamHandle stream) {
  return LaunchGram(DeviceLauncher(stream), task);
}

}  // namespace awq::cuda
