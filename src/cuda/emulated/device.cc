#include "cuda/device.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <map>
#include <mutex>
#include <new>
#include <string>

#include "cuda/emulated_device.h"

struct CUstream_st {};

struct CUevent_st {
  bool is_recorded = false;
  std::chrono::steady_clock::time_point at = {};
};

namespace awq::cuda {
namespace {

constexpr std::align_val_t kAlignment{256};

struct Block {
  std::size_t bytes;
  int device;
};

struct State {
  std::mutex mutex;
  EmulatedMachine machine;
  std::map<const unsigned char*, Block> blocks;  // by where they begin
  std::size_t launches = 0;
};

// Never destroyed: memory of other static objects may be given back after it.
State& Machine() {
  static State* const state = new State;
  return *state;
}

thread_local int current_device = 0;

std::size_t UsedBytes(const State& state, int device) {
  std::size_t used = 0;
  for (const auto& [begin, block] : state.blocks) {
    used += block.device == device ? block.bytes : 0;
  }
  return used;
}

Fault NoDevice(const char* what) {
  return MakeFault(FaultKind::kNoDevice, std::string(what) + ": no device is emulated");
}

Fault Invalid(const char* what, const char* why) {
  return MakeFault(FaultKind::kFailed, std::string(what) + ": " + why);
}

Fault CheckDevice(const State& state, int device, const char* what) {
  if (state.machine.devices < 1) {
    return NoDevice(what);
  }
  return device >= 0 && device < state.machine.devices ? Fault()
                                                       : Invalid(what, "there is no such device");
}

// The device's memory from `at` on: 0 where none begins before it and ends after it.
std::size_t BytesAt(const State& state, const void* at) {
  const auto* byte = static_cast<const unsigned char*>(at);
  auto next = state.blocks.upper_bound(byte);
  if (next == state.blocks.begin()) {
    return 0;
  }
  const auto& [begin, block] = *--next;
  const auto offset = static_cast<std::size_t>(byte - begin);
  return offset < block.bytes ? block.bytes - offset : 0;
}

// Of a copy or a fill.
Fault CheckRange(const char* what, const void* on_device, const void* on_host, std::size_t bytes) {
  State& state = Machine();
  const std::lock_guard lock(state.mutex);
  if (bytes == 0) {
    return {};
  }
  if (BytesAt(state, on_device) < bytes) {
    return Invalid(what, "not all of it is memory of the device");
  }
  return BytesAt(state, on_host) > 0 ? Invalid(what, "the host's side is memory of the device")
                                     : Fault();
}

std::size_t SharedBytes(const EmulatedMachine& machine) {
  const bool is_large = machine.minor == 0 && machine.major <= 10;  // 8.0, 9.0, 10.0
  const std::size_t kibibytes = !is_large ? 99 : machine.major == 8 ? 163 : 227;
  return kibibytes << 10;
}

// memcpy takes no null, not even for nothing.
Fault CopyInStream(void* to, const void* from, std::size_t bytes, StreamHandle stream) {
  return RunInStream(stream, [=] {
    if (bytes > 0) {
      std::memcpy(to, from, bytes);
    }
    return Fault();
  });
}

}  // namespace

void SetEmulatedMachine(const EmulatedMachine& machine) {
  const std::lock_guard lock(Machine().mutex);
  Machine().machine = machine;
}

const EmulatedMachine& EmulatedMachineNow() { return Machine().machine; }

EmulatedUse CountEmulatedUse() {
  State& state = Machine();
  const std::lock_guard lock(state.mutex);
  EmulatedUse use;
  use.launches = state.launches;
  for (const auto& [begin, block] : state.blocks) {
    use.bytes += block.bytes;
  }
  return use;
}

Fault RunInStream(StreamHandle, std::function<Fault()> work) { return work(); }

Fault RunKernel(const LaunchShape& shape, const std::function<void()>& body) {
  const EmulatedMachine machine = EmulatedMachineNow();
  const Grid& blocks = shape.blocks;
  if (shape.shared_bytes > SharedBytes(machine)) {
    return Invalid("asking for shared memory", "more than a block may have");
  }
  if (blocks.x == 0 || blocks.y == 0 || blocks.z == 0 || blocks.x > 0x7fffffffu ||
      blocks.y > 65535 || blocks.z > 65535) {
    return Invalid("launching a kernel", "invalid configuration of blocks");
  }
  {
    const std::lock_guard lock(Machine().mutex);
    ++Machine().launches;
  }
  return simt::Run(shape, machine.options, body);
}

Fault CountDevices(int* count) {
  *count = EmulatedMachineNow().devices;
  return *count > 0 ? Fault() : NoDevice("looking for a GPU");
}

Fault DescribeDevice(int device, DeviceInfo* info) {
  const EmulatedMachine machine = EmulatedMachineNow();
  AWQ_CUDA_TRY(CheckDevice(Machine(), device, "reading a GPU's properties"));
  info->name = "emulated";
  info->major = machine.major;
  info->minor = machine.minor;
  info->multiprocessors = machine.multiprocessors;
  info->l2_bytes = std::size_t{1} << 20;
  info->memory_bytes = machine.memory_bytes;
  info->shared_bytes = SharedBytes(machine);
  return {};
}

Fault UseDevice(int device) {
  AWQ_CUDA_TRY(CheckDevice(Machine(), device, "choosing a GPU"));
  current_device = device;
  return {};
}

Fault FreeMemory(std::size_t* free_bytes, std::size_t* total_bytes) {
  State& state = Machine();
  const std::lock_guard lock(state.mutex);
  AWQ_CUDA_TRY(CheckDevice(state, current_device, "asking for the GPU's free memory"));
  const std::size_t used = UsedBytes(state, current_device);
  *total_bytes = state.machine.memory_bytes;
  *free_bytes = *total_bytes - std::min(used, *total_bytes);
  return {};
}

Fault Synchronize() { return CheckDevice(Machine(), current_device, "running on the GPU"); }

DeviceMemory::~DeviceMemory() {
  if (data_ != nullptr) {
    State& state = Machine();
    const std::lock_guard lock(state.mutex);
    state.blocks.erase(static_cast<unsigned char*>(data_));
    ::operator delete(data_, kAlignment);
  }
}

Fault DeviceMemory::Allocate(std::size_t bytes) {
  *this = DeviceMemory();
  std::size_t free_bytes = 0, total_bytes = 0;
  AWQ_CUDA_TRY(FreeMemory(&free_bytes, &total_bytes));
  if (bytes > free_bytes) {
    return OutOfMemory(bytes, free_bytes, total_bytes);
  }
  if (bytes > 0) {
    data_ = ::operator new(bytes, kAlignment);
    std::memset(data_, 0xff, bytes);
    State& state = Machine();
    const std::lock_guard lock(state.mutex);
    state.blocks[static_cast<unsigned char*>(data_)] = {bytes, current_device};
  }
  bytes_ = bytes;
  return {};
}

PinnedMemory::~PinnedMemory() { ::operator delete(data_, kAlignment); }

Fault PinnedMemory::Allocate(std::size_t bytes) {
  *this = PinnedMemory();
  AWQ_CUDA_TRY(CheckDevice(Machine(), current_device, "allocating pinned host memory"));
  if (bytes > 0) {
    data_ = ::operator new(bytes, kAlignment);
    std::memset(data_, 0xff, bytes);
  }
  bytes_ = bytes;
  return {};
}

Fault CopyToDevice(void* to, const void* from, std::size_t bytes, StreamHandle stream) {
  AWQ_CUDA_TRY(CheckRange("copying to the GPU", to, from, bytes));
  return CopyInStream(to, from, bytes, stream);
}

Fault CopyToHost(void* to, const void* from, std::size_t bytes, StreamHandle stream) {
  AWQ_CUDA_TRY(CheckRange("copying from the GPU", from, to, bytes));
  return CopyInStream(to, from, bytes, stream);
}

Fault FillBytes(void* to, unsigned char value, std::size_t bytes, StreamHandle stream) {
  AWQ_CUDA_TRY(CheckRange("filling GPU memory", to, nullptr, bytes));
  return RunInStream(stream, [=] {
    if (bytes > 0) {
      std::memset(to, value, bytes);
    }
    return Fault();
  });
}

Stream::~Stream() { delete handle_; }

Fault Stream::Create() {
  *this = Stream();
  AWQ_CUDA_TRY(CheckDevice(Machine(), current_device, "making a stream"));
  handle_ = new CUstream_st;
  return {};
}

Fault Stream::Synchronize() const { return cuda::Synchronize(); }

Event::~Event() { delete handle_; }

Fault Event::Create() {
  *this = Event();
  AWQ_CUDA_TRY(CheckDevice(Machine(), current_device, "making an event"));
  handle_ = new CUevent_st;
  return {};
}

Fault Event::Record(StreamHandle) const {
  if (handle_ == nullptr) {
    return Invalid("recording an event", "it was not made");
  }
  handle_->is_recorded = true;
  handle_->at = std::chrono::steady_clock::now();
  return {};
}

Fault Event::Synchronize() const {
  return handle_ != nullptr ? Fault() : Invalid("waiting for an event", "it was not made");
}

Fault Event::SecondsSince(const Event& earlier, double* seconds) const {
  if (handle_ == nullptr || earlier.handle_ == nullptr || !handle_->is_recorded ||
      !earlier.handle_->is_recorded) {
    return Invalid("reading events", "they were not recorded");
  }
  *seconds = std::chrono::duration<double>(handle_->at - earlier.handle_->at).count();
  return {};
}

}  // namespace awq::cuda
