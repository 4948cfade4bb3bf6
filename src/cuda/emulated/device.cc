#include "cuda/device.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <vector>

#include "cuda/emulated_device.h"
#include "cuda/graph_words.h"

// Between Graph::Begin and End.
struct Recording {
  std::vector<std::function<awq::cuda::Fault()>> work;
  std::string refused = {};  // what ruined it
};

struct CUstream_st {
  std::unique_ptr<Recording> recording;
};

struct CUgraphExec_st {
  std::vector<std::function<awq::cuda::Fault()>> work;
};

struct CUevent_st {
  bool is_recorded = false;
  bool is_of_graph = false;  // recorded in a graph: nobody can wait for it
  std::chrono::steady_clock::time_point at = {};
};

namespace awq::cuda {
namespace {

constexpr std::align_val_t kAlignment{256};

struct Block {
  std::size_t bytes;
  int device;
};

// So that a program can be tried with another size.
EmulatedMachine FromEnvironment() {
  EmulatedMachine machine;
  const char* const mib = std::getenv("AWQ_EMULATED_GPU_MIB");
  if (mib != nullptr) machine.memory_bytes = std::strtoull(mib, nullptr, 10) << 20;
  return machine;
}

struct State {
  std::mutex mutex;
  EmulatedMachine machine = FromEnvironment();
  std::map<const unsigned char*, Block> blocks;  // by where they begin
  std::map<const unsigned char*, std::size_t> pinned;
  std::size_t launches = 0;
};

// Never destroyed: memory of other static objects may be given back after it.
State& Machine() {
  static State* const state = new State;
  return *state;
}

thread_local int current_device = 0;
thread_local std::vector<StreamHandle> recorded_streams;  // that this thread has begun to record

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

// What a thread that records a stream may not do: it ruins the recordings.
Fault CheckNotRecording(const char* what) {
  for (const StreamHandle stream : recorded_streams) {
    stream->recording->refused = what;
  }
  return recorded_streams.empty() ? Fault() : Invalid(what, "not while a stream is recorded");
}

bool IsPinned(const State& state, const void* at, std::size_t bytes) {
  const auto* byte = static_cast<const unsigned char*>(at);
  const auto next = state.pinned.upper_bound(byte);
  if (next == state.pinned.begin()) {
    return false;
  }
  const auto& [begin, size] = *std::prev(next);
  const auto offset = static_cast<std::size_t>(byte - begin);
  return offset <= size && bytes <= size - offset;
}

// Of a copy or a fill (on_host: null).
Fault CheckRange(const char* what, const void* on_device, const void* on_host, std::size_t bytes,
                 StreamHandle stream) {
  State& state = Machine();
  const std::lock_guard lock(state.mutex);
  if (bytes == 0) {
    return {};
  }
  if (BytesAt(state, on_device) < bytes) {
    return Invalid(what, "not all of it is memory of the device");
  }
  if (BytesAt(state, on_host) > 0) {
    return Invalid(what, "the host's side is memory of the device");
  }
  if (stream != nullptr && stream->recording != nullptr && on_host != nullptr &&
      !IsPinned(state, on_host, bytes)) {
    stream->recording->refused = what;
    return Invalid(what, "a graph takes pinned memory of the host only");
  }
  return {};
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

Fault RunInStream(StreamHandle stream, std::function<Fault()> work) {
  if (stream == nullptr || stream->recording == nullptr) {
    return work();
  }
  Recording& recording = *stream->recording;
  if (!recording.refused.empty()) {
    return Invalid("recording a graph", recording.refused.c_str());
  }
  recording.work.push_back(std::move(work));
  return {};
}

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

Fault Synchronize() {
  AWQ_CUDA_TRY(CheckNotRecording("running on the GPU"));
  return CheckDevice(Machine(), current_device, "running on the GPU");
}

DeviceMemory::~DeviceMemory() {
  if (data_ != nullptr) {
    static_cast<void>(CheckNotRecording("giving back GPU memory"));  // End says it
    State& state = Machine();
    const std::lock_guard lock(state.mutex);
    state.blocks.erase(static_cast<unsigned char*>(data_));
    ::operator delete(data_, kAlignment);
  }
}

Fault DeviceMemory::Allocate(std::size_t bytes) {
  *this = DeviceMemory();
  AWQ_CUDA_TRY(CheckNotRecording("allocating GPU memory"));
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

PinnedMemory::~PinnedMemory() {
  if (data_ != nullptr) {
    static_cast<void>(CheckNotRecording("giving back pinned host memory"));
    State& state = Machine();
    const std::lock_guard lock(state.mutex);
    state.pinned.erase(static_cast<unsigned char*>(data_));
    ::operator delete(data_, kAlignment);
  }
}

Fault PinnedMemory::Allocate(std::size_t bytes) {
  *this = PinnedMemory();
  AWQ_CUDA_TRY(CheckNotRecording("allocating pinned host memory"));
  AWQ_CUDA_TRY(CheckDevice(Machine(), current_device, "allocating pinned host memory"));
  if (bytes > 0) {
    data_ = ::operator new(bytes, kAlignment);
    std::memset(data_, 0xff, bytes);
    State& state = Machine();
    const std::lock_guard lock(state.mutex);
    state.pinned[static_cast<unsigned char*>(data_)] = bytes;
  }
  bytes_ = bytes;
  return {};
}

Fault CopyToDevice(void* to, const void* from, std::size_t bytes, StreamHandle stream) {
  AWQ_CUDA_TRY(CheckRange("copying to the GPU", to, from, bytes, stream));
  return CopyInStream(to, from, bytes, stream);
}

Fault CopyToHost(void* to, const void* from, std::size_t bytes, StreamHandle stream) {
  AWQ_CUDA_TRY(CheckRange("copying from the GPU", from, to, bytes, stream));
  return CopyInStream(to, from, bytes, stream);
}

Fault FillBytes(void* to, unsigned char value, std::size_t bytes, StreamHandle stream) {
  AWQ_CUDA_TRY(CheckRange("filling GPU memory", to, nullptr, bytes, stream));
  return RunInStream(stream, [=] {
    if (bytes > 0) {
      std::memset(to, value, bytes);
    }
    return Fault();
  });
}

Stream::~Stream() {
  std::erase(recorded_streams, handle_);
  delete handle_;
}

Fault Stream::Create() {
  *this = Stream();
  AWQ_CUDA_TRY(CheckDevice(Machine(), current_device, "making a stream"));
  handle_ = new CUstream_st;
  return {};
}

Fault Stream::Synchronize() const {
  if (handle_ != nullptr && handle_->recording != nullptr) {
    handle_->recording->refused = "running on the GPU";
    return Invalid("running on the GPU", "not while the stream is recorded");
  }
  return CheckDevice(Machine(), current_device, "running on the GPU");
}

Event::~Event() { delete handle_; }

Fault Event::Create() {
  *this = Event();
  AWQ_CUDA_TRY(CheckDevice(Machine(), current_device, "making an event"));
  handle_ = new CUevent_st;
  return {};
}

Fault Event::Record(StreamHandle stream) const {
  if (handle_ == nullptr) {
    return Invalid("recording an event", "it was not made");
  }
  handle_->is_recorded = true;
  handle_->is_of_graph = stream != nullptr && stream->recording != nullptr;
  handle_->at = std::chrono::steady_clock::now();
  return {};
}

Fault Event::Synchronize() const {
  if (handle_ == nullptr) {
    return Invalid("waiting for an event", "it was not made");
  }
  return handle_->is_of_graph ? Invalid("waiting for an event", "it was recorded in a graph")
                              : Fault();
}

Fault Event::SecondsSince(const Event& earlier, double* seconds) const {
  if (handle_ == nullptr || earlier.handle_ == nullptr || !handle_->is_recorded ||
      !earlier.handle_->is_recorded) {
    return Invalid("reading events", "they were not recorded");
  }
  if (handle_->is_of_graph || earlier.handle_->is_of_graph) {
    return Invalid("reading events", "they were recorded in a graph");
  }
  *seconds = std::chrono::duration<double>(handle_->at - earlier.handle_->at).count();
  return {};
}

Graph::~Graph() { Drop(); }

void Graph::Drop() {
  if (recorded_ != nullptr) {
    std::erase(recorded_streams, recorded_);
    recorded_->recording.reset();
    recorded_ = nullptr;
  }
  delete handle_;
  handle_ = nullptr;
}

Fault Graph::Begin(StreamHandle stream) {
  Drop();
  AWQ_CUDA_TRY(CheckBegin(stream));
  if (stream->recording != nullptr) {
    stream->recording->refused = "beginning again";
    return Invalid("beginning to record a graph", "the stream is recorded already");
  }
  stream->recording = std::make_unique<Recording>();
  recorded_streams.push_back(stream);
  recorded_ = stream;
  return {};
}

Fault Graph::End(StreamHandle stream) {
  AWQ_CUDA_TRY(CheckEnd(recorded_, stream));
  if (std::erase(recorded_streams, stream) == 0) {
    return Invalid("recording a graph", "another thread began it");
  }
  const std::unique_ptr<Recording> recording = std::move(stream->recording);
  recorded_ = nullptr;
  if (!recording->refused.empty()) {
    return Invalid("recording a graph", recording->refused.c_str());
  }
  handle_ = new CUgraphExec_st{std::move(recording->work)};
  return {};
}

Fault Graph::Launch(StreamHandle stream) const {
  if (!is_ready()) {
    return NothingRecorded();
  }
  return RunInStream(stream, [handle = handle_] {
    for (const auto& work : handle->work) {
      AWQ_CUDA_TRY(work());
    }
    return Fault();
  });
}

}  // namespace awq::cuda
