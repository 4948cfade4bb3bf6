// Large memory, and what this process holds of it as the kernel counts it (/proc/self/status).
#pragma once

#include <cstddef>

namespace awq {

inline constexpr std::size_t kAlignmentBytes = 64;

// At least `bytes` bytes for std::free, aligned to a cache line; null where there are none. Large
// ones ask for huge pages, which are had in fewer faults.
void* AllocateAligned(std::size_t bytes);

struct MemoryUse {
  std::size_t peak_resident_bytes = 0;  // VmHWM: the most ever resident, file pages included
  std::size_t allocated_bytes = 0;      // RssAnon: what was allocated
  std::size_t mapped_file_bytes = 0;    // RssFile: clean pages of mapped files, free to evict
};

// All zero where /proc is not readable.
MemoryUse ReadMemoryUse();

}  // namespace awq
