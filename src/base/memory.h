// What this process holds, as the kernel counts it (/proc/self/status).
#pragma once

#include <cstddef>

namespace awq {

struct MemoryUse {
  std::size_t peak_resident_bytes = 0;  // VmHWM: the most ever resident, file pages included
  std::size_t allocated_bytes = 0;      // RssAnon: what was allocated
  std::size_t mapped_file_bytes = 0;    // RssFile: clean pages of mapped files, free to evict
};

// All zero where /proc is not readable.
MemoryUse ReadMemoryUse();

}  // namespace awq
