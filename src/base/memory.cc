#include "base/memory.h"

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <string>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "base/checked.h"

namespace awq {
namespace {

constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;
// From here on, rounding up to whole huge pages wastes little.
constexpr std::size_t kHugeFromBytes = 4 * kHugePageBytes;

}  // namespace

void* AllocateAligned(std::size_t bytes) {
  const bool huge = bytes >= kHugeFromBytes;
  const std::size_t alignment = huge ? kHugePageBytes : kAlignmentBytes;
  if (bytes > SIZE_MAX - alignment) return nullptr;
  void* memory = std::aligned_alloc(alignment, RoundUp(bytes + 1, alignment));
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  // Advice only: where it is refused, ordinary pages do.
  if (huge && memory != nullptr) madvise(memory, bytes, MADV_HUGEPAGE);
#endif
  return memory;
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

}  // namespace awq
