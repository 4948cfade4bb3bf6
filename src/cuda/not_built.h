// What every call says that needs the CUDA toolkit's side, where that was not there at build time.
#pragma once

#include "cuda/fault.h"

namespace awq::cuda {

inline Fault NotBuilt() {
  return MakeFault(FaultKind::kNotBuilt,
                   "this program was built without CUDA: build it where nvcc is found, with "
                   "-DAWQ_CUDA=ON");
}

}  // namespace awq::cuda
