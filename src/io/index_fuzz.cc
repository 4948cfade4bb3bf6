// model.safetensors.index.json: whatever it says, file names must stay inside the directory.
#include <cstdint>
#include <cstdlib>
#include <filesystem>

#include "io/shard_index.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto files = awq::io::ParseIndex(text, "fuzz");
  if (!files.ok()) return 0;
  for (const auto& [tensor, file] : *files) {
    const std::filesystem::path path = std::filesystem::path("/models/x") / file;
    if (path.lexically_normal().parent_path() != "/models/x") std::abort();
  }
  return 0;
}
