// The first bytes of a .safetensors file, with every length that the file could claim to have.
#include <cstdint>
#include <cstdlib>

#include "io/safetensors.h"

namespace {

using namespace awq;

void Require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // The last byte stretches the file, so that offsets beyond the header can be valid.
  const std::size_t stretch = size == 0 ? 0 : data[size - 1];
  const std::size_t file_bytes = size + stretch;
  const auto tensors =
      io::ParseSafetensorsHeader(std::as_bytes(std::span(data, size)), file_bytes, "fuzz");
  if (!tensors.ok()) return 0;
  std::size_t end = 0;
  for (const io::TensorInfo& info : *tensors) {
    Require(end == 0 || info.offset_bytes == end);
    end = info.offset_bytes + info.size_bytes;
    Require(end <= file_bytes);
    std::size_t elements = 1;
    for (const std::size_t extent : info.shape) elements *= extent;
    Require(elements * ElementBytes(info.dtype) == info.size_bytes);
  }
  Require(tensors->empty() || end == file_bytes);

  // What we build from it must read back as the same tensors.
  std::vector<io::TensorInfo> rebuilt = *tensors;
  const std::string header = io::BuildSafetensorsHeader(rebuilt);
  std::size_t data_bytes = 0;
  for (const io::TensorInfo& info : rebuilt) data_bytes += info.size_bytes;
  const auto again = io::ParseSafetensorsHeader(std::as_bytes(std::span(header)),
                                                header.size() + data_bytes, "rebuilt");
  Require(again.ok() && again->size() == tensors->size());
  return 0;
}
