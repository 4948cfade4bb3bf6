// Devices, their memory, streams and events. Without the toolkit at build time every call that
// could fail says so, and CountDevices finds none.
#pragma once

#include <cstddef>
#include <string>
#include <utility>

#include "cuda/fault.h"

// The runtime's own names of its handles.
struct CUstream_st;
struct CUevent_st;

namespace awq::cuda {

using StreamHandle = CUstream_st*;
using EventHandle = CUevent_st*;

struct DeviceInfo {
  std::string name;
  int major = 0, minor = 0;  // compute capability
  int multiprocessors = 0;
  std::size_t l2_bytes = 0;
  std::size_t memory_bytes = 0;
  std::size_t shared_bytes = 0;  // the most that one block may have
};

// Devices that can be used. A fault says why there is none.
Fault CountDevices(int* count);
Fault DescribeDevice(int device, DeviceInfo* info);
// For this thread, from now on.
Fault UseDevice(int device);
Fault FreeMemory(std::size_t* free_bytes, std::size_t* total_bytes);
// Waits for all streams of the current device, and says what failed in them.
Fault Synchronize();

// What Allocate says when the device has no room.
inline Fault OutOfMemory(std::size_t bytes, std::size_t free_bytes, std::size_t total_bytes) {
  const auto mebibytes = [](std::size_t n) { return std::to_string(n >> 20) + " MiB"; };
  return MakeFault(FaultKind::kOutOfMemory, "out of GPU memory: " + mebibytes(bytes) +
                                                " were asked for, " + mebibytes(free_bytes) +
                                                " of " + mebibytes(total_bytes) + " are free");
}

// Bytes on the device, aligned to 256.
class DeviceMemory {
 public:
  DeviceMemory() = default;
  DeviceMemory(DeviceMemory&& other) noexcept { *this = std::move(other); }
  DeviceMemory& operator=(DeviceMemory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~DeviceMemory();

  // Gives back what it had. The message of kOutOfMemory says how much was asked for and is free.
  Fault Allocate(std::size_t bytes);

  template <class T = void>
  T* data() const {
    return static_cast<T*>(data_);
  }
  std::size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

// Host memory that the copy engines reach by themselves.
class PinnedMemory {
 public:
  PinnedMemory() = default;
  PinnedMemory(PinnedMemory&& other) noexcept { *this = std::move(other); }
  PinnedMemory& operator=(PinnedMemory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~PinnedMemory();

  Fault Allocate(std::size_t bytes);

  template <class T = void>
  T* data() const {
    return static_cast<T*>(data_);
  }
  std::size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

// In the stream's order; host memory that is not pinned makes the call wait.
Fault CopyToDevice(void* to, const void* from, std::size_t bytes, StreamHandle stream);
Fault CopyToHost(void* to, const void* from, std::size_t bytes, StreamHandle stream);
Fault FillBytes(void* to, unsigned char value, std::size_t bytes, StreamHandle stream);

class Stream {
 public:
  Stream() = default;
  Stream(Stream&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Stream& operator=(Stream&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Stream();

  Fault Create();
  Fault Synchronize() const;
  StreamHandle handle() const { return handle_; }

 private:
  StreamHandle handle_ = nullptr;  // the default stream
};

class Event {
 public:
  Event() = default;
  Event(Event&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Event& operator=(Event&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Event();

  Fault Create();
  Fault Record(StreamHandle stream) const;
  Fault Synchronize() const;
  // From the earlier event to this one, both of which have happened.
  Fault SecondsSince(const Event& earlier, double* seconds) const;
  EventHandle handle() const { return handle_; }

 private:
  EventHandle handle_ = nullptr;
};

}  // namespace awq::cuda
