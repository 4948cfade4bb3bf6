#include "cuda/device.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <set>
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
  int device = 0;
  std::unique_ptr<Recording> recording;
  std::mutex mutex;  // of what follows: another thread may wait for it
  std::deque<std::function<awq::cuda::Fault()>> waiting;
  awq::cuda::Fault fault;  // after which nothing is run
};

struct CUgraphExec_st {
  std::vector<std::function<awq::cuda::Fault()>> work;
};

// Of an event, each time it is recorded.
struct Happening {
  CUstream_st* stream;
  bool is_over = false;
  std::chrono::steady_clock::time_point at = {};
};

struct CUevent_st {
  std::shared_ptr<Happening> last;
  bool is_of_graph = false;  // recorded in a graph: nobody can wait for it
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
  std::set<StreamHandle> streams;
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

int DeviceOf(State& state, const void* begin) {
  const std::lock_guard lock(state.mutex);
  return state.blocks.at(static_cast<const unsigned char*>(begin)).device;
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

bool IsRecorded(StreamHandle stream) { return stream != nullptr && stream->recording != nullptr; }

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
  if (IsRecorded(stream) && on_host != nullptr && !IsPinned(state, on_host, bytes)) {
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

// Does what waits in the stream, to the end or until `is_enough`.
template <class IsEnough>
Fault Finish(StreamHandle stream, const IsEnough& is_enough) {
  const std::lock_guard lock(stream->mutex);
  while (!stream->waiting.empty() && !is_enough()) {
    const std::function<Fault()> work = std::move(stream->waiting.front());
    stream->waiting.pop_front();
    if (!stream->fault) {
      stream->fault = work();
    }
  }
  return stream->fault;
}
Fault Finish(StreamHandle stream) {
  return Finish(stream, [] { return false; });
}

// All streams of a device: as giving back its memory does.
Fault FinishDevice(int device) {
  State& state = Machine();
  std::set<StreamHandle> streams;
  {
    const std::lock_guard lock(state.mutex);
    streams = state.streams;
  }
  Fault fault;
  for (const StreamHandle stream : streams) {
    if (stream->device == device) {
      const Fault found = Finish(stream);
      fault = fault ? fault : found;
    }
  }
  return fault;
}

// memcpy takes no null, not even for nothing.
void Move(void* to, const void* from, std::size_t bytes) {
  if (bytes > 0) {
    std::memcpy(to, from, bytes);
  }
}

bool IsPinned(const void* at, std::size_t bytes) {
  State& state = Machine();
  const std::lock_guard lock(state.mutex);
  return IsPinned(state, at, bytes);
}

// What is pinned must still be there when its turn comes; a driver may take its time with what is
// not pinned, too, and who gives that back early is found by a sanitizer only.
Fault CopyInStream(void* to, const void* from, const void* on_host, std::size_t bytes,
                   StreamHandle stream) {
  const bool was_pinned = IsPinned(on_host, bytes);
  return RunInStream(stream, [=] {
    if (was_pinned && !IsPinned(on_host, bytes)) {
      return Invalid("copying", "pinned memory was given back before its copy");
    }
    Move(to, from, bytes);
    return Fault();
  });
}

}  // namespace

void SetEmulatedMachine(const EmulatedMachine& machine) {
  for (int device = 0; device < Machine().machine.devices; ++device) {
    static_cast<void>(FinishDevice(device));  // its stream keeps what went wrong
  }
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
  if (stream == nullptr) {
    return work();
  }
  if (stream->recording == nullptr) {
    {
      const std::lock_guard lock(stream->mutex);
      stream->waiting.push_back(std::move(work));
    }
    return EmulatedMachineNow().late_streams ? Fault() : Finish(stream);
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
  AWQ_CUDA_TRY(CheckDevice(Machine(), current_device, "running on the GPU"));
  return FinishDevice(current_device);
}

DeviceMemory::~DeviceMemory() {
  if (data_ != nullptr) {
    static_cast<void>(CheckNotRecording("giving back GPU memory"));  // End says it
    State& state = Machine();
    static_cast<void>(FinishDevice(DeviceOf(state, data_)));
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
  return CopyInStream(to, from, from, bytes, stream);
}

Fault CopyToHost(void* to, const void* from, std::size_t bytes, StreamHandle stream) {
  AWQ_CUDA_TRY(CheckRange("copying from the GPU", from, to, bytes, stream));
  return CopyInStream(to, from, to, bytes, stream);
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
  if (handle_ == nullptr) {
    return;
  }
  std::erase(recorded_streams, handle_);
  static_cast<void>(Finish(handle_));  // nobody can ask any more
  {
    const std::lock_guard lock(Machine().mutex);
    Machine().streams.erase(handle_);
  }
  delete handle_;
}

Fault Stream::Create() {
  *this = Stream();
  AWQ_CUDA_TRY(CheckDevice(Machine(), current_device, "making a stream"));
  handle_ = new CUstream_st;
  handle_->device = current_device;
  const std::lock_guard lock(Machine().mutex);
  Machine().streams.insert(handle_);
  return {};
}

Fault Stream::Synchronize() const {
  if (IsRecorded(handle_)) {
    handle_->recording->refused = "running on the GPU";
    return Invalid("running on the GPU", "not while the stream is recorded");
  }
  AWQ_CUDA_TRY(CheckDevice(Machine(), current_device, "running on the GPU"));
  return handle_ == nullptr ? Fault() : Finish(handle_);
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
  handle_->is_of_graph = IsRecorded(stream);
  handle_->last = std::make_shared<Happening>(Happening{stream});
  if (handle_->is_of_graph) {
    return {};
  }
  return RunInStream(stream, [happening = handle_->last] {
    happening->is_over = true;
    happening->at = std::chrono::steady_clock::now();
    return Fault();
  });
}

Fault Event::Synchronize() const {
  if (handle_ == nullptr) {
    return Invalid("waiting for an event", "it was not made");
  }
  if (handle_->is_of_graph) {
    return Invalid("waiting for an event", "it was recorded in a graph");
  }
  const std::shared_ptr<Happening> last = handle_->last;
  if (last == nullptr || last->is_over) {
    return {};
  }
  return Finish(last->stream, [&] { return last->is_over; });
}

Fault Event::SecondsSince(const Event& earlier, double* seconds) const {
  for (const EventHandle event : {handle_, earlier.handle_}) {
    if (event == nullptr || event->last == nullptr) {
      return Invalid("reading events", "they were not recorded");
    }
    if (event->is_of_graph) {
      return Invalid("reading events", "they were recorded in a graph");
    }
    if (!event->last->is_over) {
      return Invalid("reading events", "they have not happened");
    }
  }
  *seconds = std::chrono::duration<double>(handle_->last->at - earlier.handle_->last->at).count();
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
  return RunInStream(stream, [works = handle_->work] {
    for (const auto& work : works) {
      AWQ_CUDA_TRY(work());
    }
    return Fault();
  });
}

}  // namespace awq::cuda
