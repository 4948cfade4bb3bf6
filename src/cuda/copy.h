// Copies on the device by a kernel: what memory bandwidth is measured with.
#pragma once

#include <cstddef>

#include "cuda/device.h"

namespace awq::cuda {

// Both aligned to 16 bytes, and so is `bytes`.
Fault CopyOnDevice(void* to, const void* from, std::size_t bytes, StreamHandle stream);

}  // namespace awq::cuda
