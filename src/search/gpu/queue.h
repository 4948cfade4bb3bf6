// One GPU's stream, the first thing that went wrong there, and its memory, which is handed on from
// one use to the next: asking the device for it would wait for all that runs.
#pragma once

#include <algorithm>
#include <cstddef>
#include <map>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "cuda/device.h"
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

// Used by one thread at a time. After a fault nothing is launched any more, what is read is zeros,
// and buffers are empty.
class Queue {
 public:
  Queue() = default;
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  // Of the current device.
  cuda::Fault Create();
  const cuda::Fault& fault() const { return fault_; }
  cuda::StreamHandle stream() const { return stream_.handle(); }
  std::size_t bytes() const { return bytes_; }  // the most that it held at a time

  // launch() -> cuda::Fault, unless something has failed before.
  template <class Launch>
  void Do(const Launch& launch) {
    if (!fault_) fault_ = launch();
  }

  template <class T>
  Buffer Take(std::size_t count) {
    return TakeBytes(count * sizeof(T));
  }
  // A copy there; `from` may go when this returns.
  template <class T>
  Buffer Upload(std::span<const T> from) {
    Buffer to = Take<T>(from.size());
    Do([&] { return cuda::CopyToDevice(to.data<T>(), from.data(), from.size_bytes(), stream()); });
    Wait();
    return to;
  }
  template <class T>
  std::vector<T> Read(const T* from, std::size_t count) {
    std::vector<T> to(count);
    Do([&] { return cuda::CopyToHost(to.data(), from, count * sizeof(T), stream()); });
    Wait();
    return to;
  }
  void Wait() {
    Do([&] { return stream_.Synchronize(); });
  }

 private:
  friend class Buffer;
  Buffer TakeBytes(std::size_t bytes);
  void GiveBack(cuda::DeviceMemory memory);

  cuda::Stream stream_;
  cuda::Fault fault_;
  std::multimap<std::size_t, cuda::DeviceMemory> free_;  // by their bytes
  std::size_t bytes_ = 0;
};

}  // namespace awq::search::gpu
