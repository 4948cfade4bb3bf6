// What went wrong with a device, as a value: this folder stands alone, and so has an error of its
// own.
#pragma once

#include <string>
#include <utility>

namespace awq::cuda {

enum class FaultKind {
  kNone,
  kNotBuilt,      // this program was built without CUDA
  kNoDevice,      // no GPU, or no driver
  kDriverTooOld,  // for the toolkit that this program was built with
  kOutOfMemory,   // of the device, or of pinned memory
  kUnsupported,   // a shape, a format, or a GPU that the kernels are not made for
  kFailed,        // a launch, a copy or a kernel
};

struct [[nodiscard]] Fault {
  FaultKind kind = FaultKind::kNone;
  std::string message = {};  // what was tried, what was found, what to do

  // Something went wrong.
  explicit operator bool() const { return kind != FaultKind::kNone; }
};

inline Fault MakeFault(FaultKind kind, std::string message) { return {kind, std::move(message)}; }

}  // namespace awq::cuda

// AWQ_CUDA_TRY(expression): returns its Fault, if it is one.
#define AWQ_CUDA_TRY(expression)                       \
  do {                                                 \
    if (::awq::cuda::Fault awq_fault = (expression)) { \
      return awq_fault;                                \
    }                                                  \
  } while (false)
