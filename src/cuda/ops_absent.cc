// The launches of ops.h, where the CUDA toolkit was not there at build time.
#ifndef AWQ_CUDA_BUILT

#include "cuda/not_built.h"
#include "cuda/ops.h"
#include "cuda/sample.h"

namespace awq::cuda {
Fault Embed(const EmbedTask&, StreamHandle) { return NotBuilt(); }
Fault AddNorm(const NormTask&, StreamHandle) { return NotBuilt(); }
Fault Gate(const GateTask&, StreamHandle) { return NotBuilt(); }
Fault RopeAndStore(const RopeTask&, StreamHandle) { return NotBuilt(); }
Fault AttendDecode(const DecodeTask&, StreamHandle) { return NotBuilt(); }
Fault AttendPrefill(const PrefillTask&, StreamHandle) { return NotBuilt(); }
Fault AccumulateGram(const GramTask&, StreamHandle) { return NotBuilt(); }
Fault Sample(const SampleTask&, StreamHandle) { return NotBuilt(); }

}  // namespace awq::cuda

#endif
