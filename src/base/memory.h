// Large memory, and what this process holds of it as the kernel counts it (/proc/self/status).
#pragma once

#include <condition_variable>
#include <cstddef>
#include <filesystem>
#include <mutex>
#include <thread>

namespace awq {

inline constexpr std::size_t kAlignmentBytes = 64;

// Whether the address sanitizer watches the heap. (GCC says so by a macro, clang by a feature.)
#if !defined(__has_feature)
#define __has_feature(feature) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
inline constexpr bool kHeapIsWatched = true;
#else
inline constexpr bool kHeapIsWatched = false;
#endif

// Memory aligned to a cache line; null where there is none. A large piece is mapped by itself: it
// returns to the system when it is freed and leaves no hole in the heap, so that memory does not
// grow from block to block. One of 2 MiB and more asks for huge pages. FreeAligned takes the size
// that was asked for.
void* AllocateAligned(std::size_t bytes);
void* AllocateZeros(std::size_t bytes);  // a large piece takes memory as far as it is written
void FreeAligned(void* memory, std::size_t bytes);

struct MemoryUse {
  std::size_t peak_resident_bytes = 0;  // VmHWM: the most ever resident, file pages included
  std::size_t allocated_bytes = 0;      // RssAnon: what was allocated
  std::size_t mapped_file_bytes = 0;    // RssFile: clean pages of mapped files, free to evict
};

// All zero where /proc is not readable.
MemoryUse ReadMemoryUse();

// What this process may still take: of the machine's memory and swap, and of what its control group
// (v2) is allowed; pages of files count as free. SIZE_MAX where the system does not say.
std::size_t AvailableMemoryBytes(const std::filesystem::path& root = "/");

// Looks every 20 ms, as long as it lives, how much is allocated: the kernel remembers the most that
// was ever resident, mapped files included, but not how much of it was allocated.
class AllocationWatch {
 public:
  AllocationWatch();
  ~AllocationWatch();
  AllocationWatch(const AllocationWatch&) = delete;
  AllocationWatch& operator=(const AllocationWatch&) = delete;

  // The most seen so far, now included.
  std::size_t peak_bytes();

 private:
  void Look();

  std::mutex mutex_;
  std::condition_variable wake_;
  bool stop_ = false;
  std::size_t peak_bytes_ = 0;
  std::thread thread_;
};

}  // namespace awq
