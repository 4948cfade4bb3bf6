#include "base/memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>
#include <string>

#include "base/checked.h"

namespace awq {
namespace {

constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;

// What is watched stays on the heap.
constexpr std::size_t kMappedFromBytes = kHeapIsWatched ? SIZE_MAX : std::size_t{1} << 19;

std::byte* Map(std::size_t bytes) {
  void* start = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return start == MAP_FAILED ? nullptr : static_cast<std::byte*>(start);
}

// Begins at a huge page, so that all but its end can be such: the slack before and behind is
// returned at once.
std::byte* MapHuge(std::size_t bytes) {
  std::byte* const start = Map(bytes + kHugePageBytes);
  if (start == nullptr) return nullptr;
  const std::size_t before =
      (kHugePageBytes - reinterpret_cast<std::uintptr_t>(start) % kHugePageBytes) % kHugePageBytes;
  if (before > 0) munmap(start, before);
  const std::size_t end = RoundUp(before + bytes, static_cast<std::size_t>(sysconf(_SC_PAGESIZE)));
  if (bytes + kHugePageBytes > end) munmap(start + end, bytes + kHugePageBytes - end);
#if defined(MADV_HUGEPAGE)
  madvise(start + before, bytes, MADV_HUGEPAGE);  // advice: where it is refused, small pages do
#endif
  return start + before;
}

}  // namespace

void* AllocateAligned(std::size_t bytes) {
  if (bytes > SIZE_MAX / 2) return nullptr;
  if (bytes >= kHugePageBytes && bytes >= kMappedFromBytes) return MapHuge(bytes);
  if (bytes >= kMappedFromBytes) return Map(bytes);
  return std::aligned_alloc(kAlignmentBytes, RoundUp(bytes + 1, kAlignmentBytes));
}

void* AllocateZeros(std::size_t bytes) {
  void* memory = AllocateAligned(bytes);
  // Mapped pages are zero already.
  if (memory != nullptr && bytes < kMappedFromBytes) std::memset(memory, 0, bytes);
  return memory;
}

void FreeAligned(void* memory, std::size_t bytes) {
  if (memory == nullptr) return;
  if (bytes >= kMappedFromBytes) {
    munmap(memory, bytes);
  } else {
    std::free(memory);
  }
}

namespace {

// Lines of a name and a number, as the kernel writes them; 0 for a name that is not there.
std::map<std::string, std::size_t> ReadNumbers(const std::filesystem::path& path) {
  std::map<std::string, std::size_t> numbers;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string key;
    std::size_t number = 0;
    if (words >> key >> number) numbers[key] = number;
  }
  return numbers;
}

// Nothing where there is no such file, or no limit ("max").
std::optional<std::size_t> ReadNumber(const std::filesystem::path& path) {
  std::size_t number = 0;
  return std::ifstream(path) >> number ? std::optional(number) : std::nullopt;
}

std::size_t LeftOfGroup(const std::filesystem::path& group) {
  const auto most = ReadNumber(group / "memory.max");
  const auto taken = ReadNumber(group / "memory.current");
  if (!most || !taken) return SIZE_MAX;
  auto of = ReadNumbers(group / "memory.stat");
  const std::size_t files = std::min(*taken, of["inactive_file"] + of["active_file"]);
  return *most - std::min(*most, *taken - files);
}

}  // namespace

MemoryUse ReadMemoryUse() {
  auto kib = ReadNumbers("/proc/self/status");
  return {.peak_resident_bytes = kib["VmHWM:"] * 1024,
          .allocated_bytes = kib["RssAnon:"] * 1024,
          .mapped_file_bytes = kib["RssFile:"] * 1024};
}

std::size_t AvailableMemoryBytes(const std::filesystem::path& root) {
  auto kib = ReadNumbers(root / "proc/meminfo");
  std::size_t bytes = SIZE_MAX;
  if (kib.contains("MemAvailable:")) bytes = (kib["MemAvailable:"] + kib["SwapFree:"]) * 1024;
  // "0::/a/b": the group and those above it, of which each may have a limit.
  std::string line;
  std::ifstream groups(root / "proc/self/cgroup");
  while (std::getline(groups, line)) {
    if (!line.starts_with("0::/")) continue;
    std::filesystem::path group = line.substr(4);
    for (;; group = group.parent_path()) {
      bytes = std::min(bytes, LeftOfGroup(root / "sys/fs/cgroup" / group));
      if (group.empty()) break;
    }
  }
  return bytes;
}

AllocationWatch::AllocationWatch() {
  thread_ = std::thread([this] {
    std::unique_lock lock(mutex_);
    while (!stop_) {
      Look();
      wake_.wait_for(lock, std::chrono::milliseconds(20), [this] { return stop_; });
    }
  });
}

AllocationWatch::~AllocationWatch() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

std::size_t AllocationWatch::peak_bytes() {
  const std::lock_guard lock(mutex_);
  Look();
  return peak_bytes_;
}

void AllocationWatch::Look() {
  peak_bytes_ = std::max(peak_bytes_, ReadMemoryUse().allocated_bytes);
}

}  // namespace awq
