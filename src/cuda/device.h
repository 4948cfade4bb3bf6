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
struct CUgraphExec_st;

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

// In the stream's order. Whether the call waits where the host's memory is not pinned is up to the
// driver: such memory must stay as it is until somebody has waited. Lane::Upload needs no wait.
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

// Work of a stream, recorded once and then given to a stream as a whole, with the same addresses
// and arguments. Recording is a matter of the thread that begins it, which until End may not
// allocate or give back memory of the device or pinned memory, wait for the device, for the stream
// or for events recorded in it, or copy from or to host memory that is not pinned: that ends in a
// fault of the call or of End. Launch once what is to be recorded before it is: the runtime loads a
// kernel when it is first launched, and libraries allocate then. What is recorded must stay where
// it is for as long as the graph lives, pinned memory too, which is read when the graph runs.
class Graph {
 public:
  Graph() = default;
  Graph(Graph&& other) noexcept { *this = std::move(other); }
  Graph& operator=(Graph&& other) noexcept {
    std::swap(handle_, other.handle_);
    std::swap(recorded_, other.recorded_);
    return *this;
  }
  // Not while it runs. Ends a recording that is under way.
  ~Graph();

  // From now on the stream's work is recorded, and not run. Not of the default stream (null).
  Fault Begin(StreamHandle stream);
  // Must follow Begin on the same stream, also where a call between them failed. The graph is now
  // what was recorded, or, with a fault, nothing.
  Fault End(StreamHandle stream);
  // In the stream's order. Such a graph runs once at a time.
  Fault Launch(StreamHandle stream) const;
  bool is_ready() const { return handle_ != nullptr; }

 private:
  void Drop();  // what it has, and what it records

  CUgraphExec_st* handle_ = nullptr;
  StreamHandle recorded_ = nullptr;  // between Begin and End
};

}  // namespace awq::cuda
