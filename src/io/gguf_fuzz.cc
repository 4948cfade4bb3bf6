// The first bytes of a .gguf file, with every length that the file could claim to have.
#include <cstdint>
#include <cstdlib>

#include "io/gguf.h"

namespace {

using namespace awq;

void Require(bool condition) {
  if (!condition) std::abort();
}

// Every accessor on every key: none may read beyond its value. Counts what they gave.
std::size_t Touch(const io::GgufMetadata& metadata) {
  std::size_t bytes = 0;
  for (const auto& [key, value] : metadata.values) {
    if (const auto text = metadata.String(key); text.ok() && *text) {
      for (const char c : **text) bytes += c != 0;
    }
    if (const auto strings = metadata.Strings(key); strings.ok()) {
      for (const std::string_view text : *strings) {
        for (const char c : text) bytes += c != 0;
      }
    }
    if (const auto numbers = metadata.Numbers(key); numbers.ok()) bytes += numbers->size();
    if (const auto size = metadata.Size(key); size.ok()) bytes += size->has_value();
    if (const auto number = metadata.Number(key); number.ok()) bytes += number->has_value();
    if (const auto truth = metadata.Bool(key); truth.ok()) bytes += truth->has_value();
  }
  return bytes;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // The last byte stretches the file, so that tensors beyond the header can be valid.
  const std::size_t stretch = size == 0 ? 0 : data[size - 1];
  const std::size_t file_bytes = size + 64 * stretch;
  const auto header = io::ParseGguf(std::as_bytes(std::span(data, size)), file_bytes, "fuzz");
  if (!header.ok()) return 0;
  Require(Touch(header->metadata) <= 2 * size);
  for (const io::GgufTensor& tensor : header->tensors) {
    Require(tensor.offset_bytes % header->alignment_bytes == 0);
    Require(tensor.offset_bytes <= file_bytes &&
            tensor.size_bytes <= file_bytes - tensor.offset_bytes);
    for (const io::GgufTensor& other : header->tensors) {
      Require(&other == &tensor || tensor.size_bytes == 0 || other.size_bytes == 0 ||
              tensor.offset_bytes + tensor.size_bytes <= other.offset_bytes ||
              other.offset_bytes + other.size_bytes <= tensor.offset_bytes);
    }
  }
  return 0;
}
