// The launches of matrix.h and rounding.h, where the CUDA toolkit was not there at build time.
#ifndef AWQ_CUDA_BUILT

#include "cuda/matrix.h"
#include "cuda/not_built.h"
#include "cuda/rounding.h"

namespace awq::cuda {
Fault Multiply(const ProductTask&, StreamHandle) { return NotBuilt(); }
Fault PermuteColumns(const DeviceMatrix&, const std::uint32_t*, bool, const DeviceMatrix&,
                     StreamHandle) {
  return NotBuilt();
}
Fault Combine(float, const DeviceMatrix&, float, const DeviceMatrix&, const DeviceMatrix&,
              StreamHandle) {
  return NotBuilt();
}
Fault SumProducts(const DeviceMatrix&, const DeviceMatrix&, double*, double*, StreamHandle) {
  return NotBuilt();
}
Fault Sum(const double*, int, double*, StreamHandle) { return NotBuilt(); }
Fault FactorGram(const FactorTask&, StreamHandle) { return NotBuilt(); }
Fault SolveRows(const SolveTask&, StreamHandle) { return NotBuilt(); }

Fault RoundGroups(const GroupTask&, StreamHandle) { return NotBuilt(); }
Fault SearchClip(const ClipTask&, StreamHandle) { return NotBuilt(); }
Fault AddProfile(const ProfileTask&, StreamHandle) { return NotBuilt(); }
Fault RoundingErrors(const ErrorTask&, StreamHandle) { return NotBuilt(); }
Fault RoundWithFeedback(const FeedbackTask&, StreamHandle) { return NotBuilt(); }
Fault RefitScales(const RefitTask&, StreamHandle) { return NotBuilt(); }
Fault KeepBetterRows(const KeepTask&, StreamHandle) { return NotBuilt(); }

}  // namespace awq::cuda

#endif
