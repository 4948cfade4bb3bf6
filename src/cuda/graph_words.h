// What Graph refuses before the runtime does, on the device and the emulated one.
#pragma once

#include "cuda/device.h"

namespace awq::cuda {

inline Fault CheckBegin(StreamHandle stream) {
  return stream != nullptr
             ? Fault()
             : MakeFault(FaultKind::kUnsupported, "recording a graph: not of the default stream");
}

// recorded: what Begin was given.
inline Fault CheckEnd(StreamHandle recorded, StreamHandle stream) {
  return recorded != nullptr && recorded == stream
             ? Fault()
             : MakeFault(FaultKind::kFailed, "recording a graph: of this stream none was begun");
}

inline Fault NothingRecorded() {
  return MakeFault(FaultKind::kFailed, "running a graph: nothing was recorded");
}

}  // namespace awq::cuda
