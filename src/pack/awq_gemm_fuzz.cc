// Arbitrary parts must give an error or a linear that packs back to the same bytes.
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "pack/format.h"

namespace {

using namespace awq;

// Takes numbers and bytes off the front of the input; zeros when it is used up.
class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : data_(data, size) {}
  std::uint8_t Byte() {
    if (data_.empty()) return 0;
    const std::uint8_t byte = data_[0];
    data_ = data_.subspan(1);
    return byte;
  }
  std::vector<std::byte> Bytes(std::size_t count) {
    std::vector<std::byte> bytes(count);
    for (std::byte& byte : bytes) byte = std::byte{Byte()};
    return bytes;
  }

 private:
  std::span<const std::uint8_t> data_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  const std::uint8_t format_index = input.Byte();
  const pack::Format& format = pack::Formats()[format_index % pack::Formats().size()];
  const std::size_t out = input.Byte();
  const std::size_t in = input.Byte();
  const std::uint8_t flags = input.Byte();
  quant::Spec spec;
  spec.group_size = input.Byte();
  spec.bits = (flags & 1) != 0 ? 4 : (flags >> 4) % 9;
  spec.symmetric = (flags & 2) != 0;
  if (!format.refuses(out, in, spec).empty()) {
    if (format.unpack({}, out, in, spec, "m").ok()) std::abort();
    return 0;
  }
  std::vector<std::vector<std::byte>> storage;
  std::vector<TensorView> parts;
  for (const pack::PartInfo& info : format.parts(out, in, spec)) {
    storage.push_back(input.Bytes(info.shape[0] * info.shape[1] * ElementBytes(info.dtype)));
    parts.push_back({info.dtype, info.shape, storage.back()});
  }
  if ((flags & 4) != 0) {  // damage the description of one part
    TensorView& part = parts[input.Byte() % parts.size()];
    const std::uint8_t what = input.Byte();
    if (what % 3 == 0) part.dtype = DType::kF32;
    if (what % 3 == 1) part.shape[what / 3 % part.shape.size()] += 1;
    if (what % 3 == 2) part.bytes = part.bytes.first(part.bytes.size() / 2);
  }
  const auto linear = format.unpack(parts, out, in, spec, "m");
  if (!linear.ok()) return 0;
  const auto packed = format.pack(*linear);
  for (std::size_t i = 0; i < packed.size(); ++i) {
    if (packed[i].bytes.size() != parts[i].bytes.size() ||
        std::memcmp(packed[i].bytes.data(), parts[i].bytes.data(), parts[i].bytes.size()) != 0) {
      std::abort();
    }
  }
  return 0;
}
