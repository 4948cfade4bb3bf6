#include "transformer/gpu/context.h"

#include <algorithm>

#include "base/error.h"

namespace awq::transformer::gpu {
namespace {

ErrorCode CodeOf(cuda::FaultKind kind) {
  switch (kind) {
    case cuda::FaultKind::kOutOfMemory:
      return ErrorCode::kOutOfMemory;
    case cuda::FaultKind::kNoDevice:
      return ErrorCode::kNotFound;
    case cuda::FaultKind::kNotBuilt:
    case cuda::FaultKind::kDriverTooOld:
    case cuda::FaultKind::kUnsupported:
      return ErrorCode::kUnsupported;
    case cuda::FaultKind::kFailed:
    case cuda::FaultKind::kNone:
      break;
  }
  return ErrorCode::kIo;
}

cuda::Fault CheckDevice(int device) {
  int count = 0;
  cuda::Fault fault = cuda::CountDevices(&count);
  if (fault) {
    fault.message += "; leave --device out for the CPU";
    return fault;
  }
  if (device >= 0 && device < count) return {};
  return cuda::MakeFault(cuda::FaultKind::kNoDevice,
                         fmt::format("there is no GPU {}: this machine has {}, from 0 on; "
                                     "leave --device out for the CPU",
                                     device, count));
}

}  // namespace

Error ToError(const cuda::Fault& fault) { return {CodeOf(fault.kind), fault.message}; }

Result<std::unique_ptr<Context>> Context::Create(int device) {
  std::unique_ptr<Context> context(new Context);
  context->Do([&] { return CheckDevice(device); });
  context->Do([&] { return context->linears_.Create(device); });
  context->Do([&] { return context->stream_.Create(); });
  AWQ_TRY(context->status());
  return context;
}

Status Context::Synchronize() {
  Do([&] { return stream_.Synchronize(); });
  return status();
}

Status Context::status() const {
  if (fault_) return ToError(fault_);
  return {};
}

}  // namespace awq::transformer::gpu
