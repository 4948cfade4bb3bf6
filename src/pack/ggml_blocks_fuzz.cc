// Blocks of Q4_0, Q4_1 and Q8_0: an error, or codes that mean the same weights and, where no scale
// is zero, become the same blocks again.
#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "pack/ggml_blocks.h"
#include "tensor/tensor.h"

namespace {

using namespace awq;

void Require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr GgmlType kTypes[] = {GgmlType::kQ4_0, GgmlType::kQ4_1, GgmlType::kQ8_0};
  if (size == 0) return 0;
  const GgmlType type = kTypes[data[0] % 3];
  const GgmlTypeRow& info = InfoOf(type);
  const std::size_t count = (size - 1) / info.block_bytes;
  const auto blocks = std::as_bytes(std::span(data + 1, count * info.block_bytes));
  const std::size_t elements = 32 * count;
  std::vector<std::uint8_t> codes(elements);
  std::vector<float> scales(count);
  std::vector<std::uint8_t> zeros(count);
  const auto changed = pack::DecodeCodes(info, blocks, {codes, scales, zeros, 32}, "w");
  if (!changed.ok()) return 0;
  std::vector<float> values(elements);
  pack::DequantizeBlocks(info, blocks, values);
  std::size_t different = 0;
  for (std::size_t b = 0; b < count; ++b) {
    Require(scales[b] != 0);
    bool same = true;
    for (std::size_t k = 32 * b; k < 32 * (b + 1); ++k) {
      Require(codes[k] <= pack::SpecOf(info)->max_code());
      same = same && static_cast<float>(codes[k] - zeros[b]) * scales[b] == values[k];
    }
    different += !same;
  }
  Require(different <= changed->groups);
  std::vector<std::byte> again(blocks.size());
  Require(pack::EncodeCodes(type, {codes, scales, zeros, 32}, again, "w").ok());
  for (std::size_t b = 0; b < count; ++b) {
    const auto block = blocks.subspan(b * info.block_bytes, info.block_bytes);
    const bool has_scale =
        ((std::to_integer<unsigned>(block[1]) & 0x7fU) | std::to_integer<unsigned>(block[0])) != 0;
    // -0 and 0 are the same minimum.
    const bool plain = type != GgmlType::kQ4_1 || zeros[b] != 0;
    if (!has_scale || !plain) continue;
    Require(std::ranges::equal(block,
                               std::span(again).subspan(b * info.block_bytes, info.block_bytes)));
  }
  return 0;
}
