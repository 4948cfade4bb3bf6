#include "transformer/gpu/limits.h"

#include <algorithm>

#include "cuda/copy.h"

namespace awq::transformer::gpu {
namespace {

constexpr std::size_t kCopiedBytes = std::size_t{512} << 20;  // beyond all caches
constexpr std::size_t kScratchBytes = std::size_t{32} << 20;
constexpr unsigned char kSomeByte = 0x3c;  // a small number in both 16-bit types

// Memory of small numbers.
cuda::Fault Make(cuda::DeviceMemory& memory, std::size_t bytes, cuda::StreamHandle stream) {
  AWQ_CUDA_TRY(memory.Allocate(bytes));
  return cuda::FillBytes(memory.data(), kSomeByte, bytes, stream);
}

// Of `count` launches.
cuda::Fault Time(cuda::StreamHandle stream, int count, const std::function<cuda::Fault()>& launch,
                 double* seconds) {
  cuda::Event begin, end;
  AWQ_CUDA_TRY(begin.Create());
  AWQ_CUDA_TRY(end.Create());
  AWQ_CUDA_TRY(begin.Record(stream));
  for (int i = 0; i < count; ++i) AWQ_CUDA_TRY(launch());
  AWQ_CUDA_TRY(end.Record(stream));
  AWQ_CUDA_TRY(end.Synchronize());
  return end.SecondsSince(begin, seconds);
}

}  // namespace

double DeviceLimits::Rate(double seconds, const std::function<cuda::Fault()>& launch) const {
  constexpr int kMost = 10000;
  double once = 0, all = 0;
  if (Time(context_.stream(), 1, launch, &once)) return 0;  // what is made at first is made now
  if (Time(context_.stream(), 1, launch, &once)) return 0;
  const int count = once > 0 ? static_cast<int>(std::clamp(seconds / once, 1.0, double{kMost})) : 1;
  if (Time(context_.stream(), count, launch, &all) || all <= 0) return 0;
  return count / all;
}

double DeviceLimits::BytesPerSecond(double seconds) {
  std::size_t free_bytes = 0, total_bytes = 0;
  if (cuda::FreeMemory(&free_bytes, &total_bytes)) return 0;
  const std::size_t bytes = std::min(kCopiedBytes, free_bytes / 8) / 16 * 16;
  cuda::DeviceMemory from, to;
  if (bytes == 0 || Make(from, bytes, context_.stream()) || Make(to, bytes, context_.stream())) {
    return 0;
  }
  return 2 * static_cast<double>(bytes) * Rate(seconds, [&] {
           return cuda::CopyOnDevice(to.data(), from.data(), bytes, context_.stream());
         });
}

double DeviceLimits::OperationsPerSecond(double seconds) {
  cuda::DenseProducts& dense = context_.linears().dense();
  if (!dense.is_open() && dense.Open()) return 0;
  cuda::DeviceMemory w, x, y, scratch;
  if (Make(w, 2 * shape_.outputs * shape_.inputs, context_.stream()) ||
      Make(x, 2 * shape_.tokens * shape_.inputs, context_.stream()) ||
      Make(y, 4 * shape_.tokens * shape_.outputs, context_.stream()) ||
      Make(scratch, kScratchBytes, context_.stream())) {
    return 0;
  }
  cuda::DenseCall call;
  call.w = w.data();
  call.x = x.data();
  call.y = y.data();
  call.outputs = call.y_stride = static_cast<int>(shape_.outputs);
  call.inputs = static_cast<int>(shape_.inputs);
  call.tokens = static_cast<int>(shape_.tokens);
  call.x_type = type_;
  call.y_type = cuda::Float::kSingle;
  call.scratch = scratch.data();
  call.scratch_bytes = scratch.bytes();
  const double operations = 2 * static_cast<double>(shape_.tokens) *
                            static_cast<double>(shape_.outputs) *
                            static_cast<double>(shape_.inputs);
  return operations * Rate(seconds, [&] { return dense.Multiply(call, context_.stream()); });
}

}  // namespace awq::transformer::gpu
