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
  pack::Form form;
  form.out_features = input.Byte();
  form.in_features = input.Byte();
  const std::uint8_t flags = input.Byte();
  form.spec.group_size = input.Byte();
  form.spec.bits = (flags & 1) != 0 ? 4 : (flags >> 4) % 10;
  form.spec.symmetric = (flags & 2) != 0;
  form.spec.act_order = (flags & 8) != 0;
  constexpr DType kScales[] = {DType::kF16, DType::kBF16, DType::kF32, DType::kI32};
  form.spec.scale_dtype = kScales[format_index / 16 % 4];
  if (!pack::Refuses(format, form).empty()) {
    if (pack::Unpack(format, {}, form, "m").ok()) std::abort();
    return 0;
  }
  std::vector<std::vector<std::byte>> storage;
  std::vector<TensorView> parts;
  for (const pack::PartInfo& info : format.parts(form)) {
    std::size_t bytes = ElementBytes(info.dtype);
    for (const std::size_t extent : info.shape) bytes *= extent;
    storage.push_back(input.Bytes(bytes));
    parts.push_back({info.dtype, info.shape, storage.back()});
  }
  if ((flags & 4) != 0) {  // damage the description of one part
    TensorView& part = parts[input.Byte() % parts.size()];
    const std::uint8_t what = input.Byte();
    if (what % 3 == 0) part.dtype = DType::kF64;
    if (what % 3 == 1) part.shape[what / 3 % part.shape.size()] += 1;
    if (what % 3 == 2) part.bytes = part.bytes.first(part.bytes.size() / 2);
  }
  const auto linear = pack::Unpack(format, parts, form, "m");
  if (!linear.ok()) return 0;
  const auto packed = pack::Pack(format, *linear, "m");
  if (!packed.ok()) std::abort();
  for (std::size_t i = 0; i < packed->size(); ++i) {
    const auto& bytes = (*packed)[i].bytes;
    if (bytes.size() != parts[i].bytes.size() ||
        std::memcmp(bytes.data(), parts[i].bytes.data(), bytes.size()) != 0) {
      std::abort();
    }
  }
  return 0;
}
