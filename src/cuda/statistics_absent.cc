// The launches of statistics.h, where the CUDA toolkit was not there at build time.
#ifndef AWQ_CUDA_BUILT

#include "cuda/not_built.h"
#include "cuda/statistics.h"

namespace awq::cuda {
Fault AddColumns(const ColumnsTask&, StreamHandle) { return NotBuilt(); }
Fault AddSketch(const SketchTask&, StreamHandle) { return NotBuilt(); }
Fault Subtract(const DifferenceTask&, StreamHandle) { return NotBuilt(); }
Fault Widen(const WidenTask&, StreamHandle) { return NotBuilt(); }
Fault Mirror(const MirrorTask&, StreamHandle) { return NotBuilt(); }

}  // namespace awq::cuda

#endif
