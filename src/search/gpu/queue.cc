#include "search/gpu/queue.h"

namespace awq::search::gpu {

Buffer::~Buffer() {
  if (queue_ != nullptr && !is_empty()) queue_->GiveBack(std::move(memory_));
}

Queue::Queue(cuda::Lane& lane) : lane_(lane) {
  Do([&] {
    cuda::DeviceInfo info;
    AWQ_CUDA_TRY(cuda::DescribeDevice(lane.device(), &info));
    shared_bytes_ = info.shared_bytes;
    return cuda::Fault();
  });
}

cuda::Fault Queue::Allocate(std::size_t bytes, cuda::DeviceMemory& memory) {
  cuda::Fault fault = memory.Allocate(bytes);
  if (fault.kind != cuda::FaultKind::kOutOfMemory || free_.empty()) return fault;
  GiveUpFree();
  return memory.Allocate(bytes);
}

void Queue::GiveUpFree() {
  for (const auto& [size, unused] : free_) bytes_ -= size;
  free_.clear();
}

// What is free and not much too large; else new memory, and where there is none, what is free is
// given up for it.
Buffer Queue::TakeBytes(std::size_t bytes) {
  constexpr std::size_t kGrain = 4096;
  bytes = (std::max<std::size_t>(bytes, 1) + kGrain - 1) / kGrain * kGrain;
  if (fault()) return {};
  const auto found = free_.lower_bound(bytes);
  if (found != free_.end() && found->first <= 2 * bytes) {
    cuda::DeviceMemory memory = std::move(found->second);
    free_.erase(found);
    return {*this, std::move(memory)};
  }
  cuda::DeviceMemory memory;
  Do([&] { return Allocate(bytes, memory); });
  if (fault()) return {};
  bytes_ += bytes;
  return {*this, std::move(memory)};
}

// Work that still runs on it comes before what is launched next: there is one stream.
void Queue::GiveBack(cuda::DeviceMemory memory) {
  const std::size_t bytes = memory.bytes();
  free_.emplace(bytes, std::move(memory));
}

}  // namespace awq::search::gpu
