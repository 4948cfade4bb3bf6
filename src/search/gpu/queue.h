// A GPU's memory, handed on from one use to the next in a lane's order: asking the device for it
// would wait for all that runs.
#pragma once

#include <algorithm>
#include <cstddef>
#include <map>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "cuda/device.h"
#include "cuda/lane.h"
#include "cuda/matrix.h"

namespace awq::search::gpu {

class Queue;

// Memory of the device, given back to its queue, which must outlive it.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Queue& queue, cuda::DeviceMemory memory) : queue_(&queue), memory_(std::move(memory)) {}
  Buffer(Buffer&& other) noexcept { *this = std::move(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(queue_, other.queue_);
    std::swap(memory_, other.memory_);
    return *this;
  }
  ~Buffer();

  template <class T>
  T* data() const {
    return memory_.data<T>();
  }
  bool is_empty() const { return memory_.data() == nullptr; }

 private:
  Queue* queue_ = nullptr;
  cuda::DeviceMemory memory_;
};

inline std::size_t Count(int rows, int columns) {
  return static_cast<std::size_t>(rows) * static_cast<std::size_t>(columns);
}
// fp32 rows, one after another.
inline cuda::DeviceMatrix Whole(const Buffer& buffer, int rows, int columns) {
  return {buffer.data<float>(), columns, rows, columns};
}

// Used by one thread at a time. After a fault of its lane what is read is zeros, and buffers are
// empty.
class Queue {
 public:
  // Of an open lane, which must outlive it, and the queue its buffers.
  explicit Queue(cuda::Lane& lane);
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  const cuda::Fault& fault() const { return lane_.fault(); }
  cuda::StreamHandle stream() const { return lane_.stream(); }
  std::size_t bytes() const { return bytes_; }  // that it holds
  // That a block of the device may have; 0 with a fault.
  std::size_t shared_bytes() const { return shared_bytes_; }

  template <class Launch>
  void Do(const Launch& launch) {
    lane_.Do(launch);
  }
  void Wait() { lane_.Wait(); }
  // What nobody has taken goes back to the device.
  void GiveUpFree();

  template <class T>
  Buffer Take(std::size_t count) {
    return TakeBytes(count * sizeof(T));
  }
  // A copy there; `from` may go when this returns.
  template <class T>
  Buffer Upload(std::span<const T> from) {
    Buffer to = Take<T>(from.size());
    UploadTo(from, to.data<T>());
    return to;
  }
  template <class T>
  void UploadTo(std::span<const T> from, T* to) {
    lane_.Upload(from.data(), from.size_bytes(), to);
  }
  template <class T>
  std::vector<T> Read(const T* from, std::size_t count) {
    std::vector<T> to(count);
    Do([&] { return cuda::CopyToHost(to.data(), from, count * sizeof(T), stream()); });
    Wait();
    return to;
  }

 private:
  friend class Buffer;
  Buffer TakeBytes(std::size_t bytes);
  cuda::Fault Allocate(std::size_t bytes, cuda::DeviceMemory& memory);
  void GiveBack(cuda::DeviceMemory memory);

  cuda::Lane& lane_;
  std::multimap<std::size_t, cuda::DeviceMemory> free_;  // by their bytes
  std::size_t bytes_ = 0;
  std::size_t shared_bytes_ = 0;
};

}  // namespace awq::search::gpu
