#include "base/memory.h"

#include <fstream>
#include <string>

namespace awq {

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
