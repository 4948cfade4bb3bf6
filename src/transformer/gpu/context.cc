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

cuda::Fault Describe(int device, cuda::DeviceInfo* info, std::size_t* free_bytes) {
  std::size_t total_bytes = 0;
  AWQ_CUDA_TRY(CheckDevice(device));
  AWQ_CUDA_TRY(cuda::UseDevice(device));
  AWQ_CUDA_TRY(cuda::DescribeDevice(device, info));
  AWQ_CUDA_TRY(cuda::CheckCapability(*info));
  return cuda::FreeMemory(free_bytes, &total_bytes);
}

}  // namespace

Result<DeviceFacts> DescribeDevice(int device) {
  cuda::DeviceInfo info;
  DeviceFacts facts;
  const cuda::Fault fault = Describe(device, &info, &facts.free_bytes);
  if (fault) return ToError(fault);
  facts.name = info.name;
  return facts;
}

Error ToError(const cuda::Fault& fault) { return {CodeOf(fault.kind), fault.message}; }

Result<std::unique_ptr<Context>> Context::Create(int device) {
  std::unique_ptr<Context> context(new Context);
  context->Do([&] { return CheckDevice(device); });
  context->Do([&] { return context->linears_.Create(device); });
  context->lane_.Open(device);
  AWQ_TRY(context->status());
  return context;
}

void* Context::dense_scratch() { return dense_scratch_.Take<std::byte>(*this, kDenseScratchBytes); }

Status Context::Synchronize() {
  lane_.Wait();
  return status();
}

Status Context::status() const {
  if (lane_.fault()) return ToError(lane_.fault());
  return {};
}

}  // namespace awq::transformer::gpu
