#include "base/memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
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

MemoryUse ReadMemoryUse() {
  MemoryUse use;
  std::ifstream status("/proc/self/status");
  std::string key;
  while (status >> key) {
    std::size_t* field = key == "VmHWM:"     ? &use.peak_resident_bytes
                         : key == "RssAnon:" ? &use.allocated_bytes
                         : key == "RssFile:" ? &use.mapped_file_bytes
                                             : nullptr;
    std::size_t kib = 0;
    if (field != nullptr && status >> kib) *field = kib * 1024;
    std::string rest;
    std::getline(status, rest);
  }
  return use;
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
