// One GPU: its stream, and what its linears need.
#pragma once

#include <awq/result.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "cuda/device.h"
#include "cuda/lane.h"
#include "cuda/linears.h"
#include "cuda/ops.h"

namespace awq::transformer::gpu {

struct DeviceFacts {
  std::string name;
  std::size_t free_bytes = 0;
};
// Error: there is no such GPU, or it cannot be used.
Result<DeviceFacts> DescribeDevice(int device);

Error ToError(const cuda::Fault& fault);

class Context;

// Memory on the device that grows to what is asked for; what was in it is then gone.
class Scratch {
 public:
  // Null where it cannot be had, which the context knows then.
  template <class T>
  T* Take(Context& context, std::size_t count);
  const void* data() const { return memory_.data(); }

 private:
  cuda::DeviceMemory memory_;
};

// Used by one thread at a time. After a fault nothing is launched any more.
class Context {
 public:
  // Error: no such GPU, one that the kernels are not made for, or a program without them.
  static Result<std::unique_ptr<Context>> Create(int device);

  cuda::StreamHandle stream() const { return lane_.stream(); }
  cuda::Linears& linears() { return linears_; }

  cuda::Lane& lane() { return lane_; }
  template <class Launch>
  void Do(const Launch& launch) {
    lane_.Do(launch);
  }
  // What cuBLASLt may use, and how much that is.
  void* dense_scratch();
  static constexpr std::size_t kDenseScratchBytes = std::size_t{32} << 20;
  // How often scratch memory has moved so far.
  std::size_t moves() const { return moves_; }
  void CountMove() { ++moves_; }
  // Waits for what was launched. Error: the first that there was.
  Status Synchronize();
  // Without waiting.
  Status status() const;

 private:
  Context() = default;

  cuda::Lane lane_;
  cuda::Linears linears_;
  Scratch dense_scratch_;
  std::size_t moves_ = 0;
};

template <class T>
T* Scratch::Take(Context& context, std::size_t count) {
  const std::size_t bytes = count * sizeof(T);
  if (memory_.bytes() < bytes || memory_.data() == nullptr) {
    context.Do([&] { return memory_.Allocate(std::max<std::size_t>(bytes, 1)); });
    context.CountMove();
  }
  return memory_.data<T>();
}

// A copy on the device. What is copied may go when this returns.
template <class T>
cuda::DeviceMemory Uploaded(Context& context, std::span<const T> from) {
  cuda::DeviceMemory memory;
  if (from.empty()) return memory;
  context.Do([&] { return memory.Allocate(from.size_bytes()); });
  context.lane().Upload(from.data(), from.size_bytes(), memory.data());
  return memory;
}

}  // namespace awq::transformer::gpu
