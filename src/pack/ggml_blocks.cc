#include "pack/ggml_blocks.h"

#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "base/error.h"

namespace awq::pack {
namespace {

constexpr std::size_t kSmall = 32;   // elements of a block of Q4_0 and its like
constexpr std::size_t kSuper = 256;  // of the K types
constexpr std::size_t kKScaleBytes = 12;

std::uint8_t Byte(const std::byte* at) { return std::to_integer<std::uint8_t>(*at); }

float HalfAt(const std::byte* at) {
  F16 half;
  std::memcpy(&half.bits, at, sizeof(half.bits));
  return ToFloat(half);
}

template <class T>
float FloatAt(const std::byte* at) {
  if constexpr (std::is_same_v<T, float>) {
    float value;
    std::memcpy(&value, at, sizeof(value));
    return value;
  } else {
    T value;
    std::memcpy(&value.bits, at, sizeof(value.bits));
    return ToFloat(value);
  }
}

template <class T>
void DecodeElement(const std::byte* from, float* to) {
  *to = FloatAt<T>(from);
}

// Element i in the low half of byte i, element i + 16 in the high one.
void DecodeQ4_0(const std::byte* from, float* to) {
  const float d = HalfAt(from);
  for (std::size_t i = 0; i < kSmall / 2; ++i) {
    const int pair = Byte(from + 2 + i);
    to[i] = d * static_cast<float>((pair & 15) - 8);
    to[i + kSmall / 2] = d * static_cast<float>((pair >> 4) - 8);
  }
}

void DecodeQ4_1(const std::byte* from, float* to) {
  const float d = HalfAt(from);
  const float m = HalfAt(from + 2);
  for (std::size_t i = 0; i < kSmall / 2; ++i) {
    const int pair = Byte(from + 4 + i);
    to[i] = d * static_cast<float>(pair & 15) + m;
    to[i + kSmall / 2] = d * static_cast<float>(pair >> 4) + m;
  }
}

// The fifth bits of 32 elements, lowest first, before the halves of Q4_0.
template <class Value>
void DecodeFiveBits(const std::byte* bits, const std::byte* halves, float* to, Value value) {
  std::uint32_t high = 0;
  std::memcpy(&high, bits, sizeof(high));
  for (std::size_t i = 0; i < kSmall / 2; ++i) {
    const std::uint32_t pair = Byte(halves + i);
    const std::size_t j = i + kSmall / 2;
    to[i] = value(static_cast<int>((pair & 15U) | (high >> i & 1U) << 4));
    to[j] = value(static_cast<int>(pair >> 4 | (high >> j & 1U) << 4));
  }
}

void DecodeQ5_0(const std::byte* from, float* to) {
  const float d = HalfAt(from);
  DecodeFiveBits(from + 2, from + 6, to, [&](int q) { return d * static_cast<float>(q - 16); });
}

void DecodeQ5_1(const std::byte* from, float* to) {
  const float d = HalfAt(from);
  const float m = HalfAt(from + 2);
  DecodeFiveBits(from + 4, from + 8, to, [&](int q) { return d * static_cast<float>(q) + m; });
}

void DecodeQ8_0(const std::byte* from, float* to) {
  const float d = HalfAt(from);
  for (std::size_t i = 0; i < kSmall; ++i) {
    to[i] = static_cast<float>(std::bit_cast<std::int8_t>(from[2 + i])) * d;
  }
}

// Scale and minimum of each 32 elements of Q4_K and Q5_K, six bits each in 12 bytes: the first
// four in bytes 0 to 3 and 4 to 7; of the others four bits in bytes 8 to 11, two above the first.
struct KScales {
  std::array<float, 8> scale;
  std::array<float, 8> minimum;
};

KScales ReadKScales(const std::byte* from) {
  const float d = HalfAt(from);
  const float dmin = HalfAt(from + 2);
  const std::byte* six = from + 4;
  KScales result{};
  for (std::size_t i = 0; i < 4; ++i) {
    const int a = Byte(six + i);
    const int b = Byte(six + 4 + i);
    const int c = Byte(six + 8 + i);
    result.scale[i] = d * static_cast<float>(a & 63);
    result.minimum[i] = dmin * static_cast<float>(b & 63);
    result.scale[4 + i] = d * static_cast<float>((c & 15) | (a >> 6) << 4);
    result.minimum[4 + i] = dmin * static_cast<float>(c >> 4 | (b >> 6) << 4);
  }
  return result;
}

// 32 bytes hold the low halves of one group of 32, then the high ones of the next.
void DecodeQ4_K(const std::byte* from, float* to) {
  const KScales k = ReadKScales(from);
  const std::byte* halves = from + 4 + kKScaleBytes;
  for (std::size_t group = 0; group < 8; ++group) {
    const int shift = group % 2 == 0 ? 0 : 4;
    for (std::size_t i = 0; i < 32; ++i) {
      const int q = Byte(halves + group / 2 * 32 + i) >> shift & 15;
      to[group * 32 + i] = k.scale[group] * static_cast<float>(q) - k.minimum[group];
    }
  }
}

// As Q4_K; the fifth bit of element i of group g is bit g of byte i of 32.
void DecodeQ5_K(const std::byte* from, float* to) {
  const KScales k = ReadKScales(from);
  const std::byte* high = from + 4 + kKScaleBytes;
  const std::byte* halves = high + 32;
  for (std::size_t group = 0; group < 8; ++group) {
    const int shift = group % 2 == 0 ? 0 : 4;
    for (std::size_t i = 0; i < 32; ++i) {
      const int low = Byte(halves + group / 2 * 32 + i) >> shift & 15;
      const int q = low | (Byte(high + i) >> group & 1) << 4;
      to[group * 32 + i] = k.scale[group] * static_cast<float>(q) - k.minimum[group];
    }
  }
}

// 128 bytes of low halves, 64 of upper pairs of bits, 16 scales, d. Each 128 elements: 64 low
// bytes hold groups 0, 1 (low halves) and 2, 3 (high halves) of 32; the pairs of all four groups
// stand in 32 bytes.
void DecodeQ6_K(const std::byte* from, float* to) {
  const std::byte* low = from;
  const std::byte* high = from + 128;
  const std::byte* scales = from + 192;
  const float d = HalfAt(from + 208);
  for (std::size_t i = 0; i < kSuper; ++i) {
    const std::size_t part = i / 128;
    const std::size_t group = i % 128 / 32;
    const std::size_t at = i % 32;
    const int four = Byte(low + part * 64 + group % 2 * 32 + at) >> (group / 2 * 4) & 15;
    const int two = Byte(high + part * 32 + at) >> (group * 2) & 3;
    const auto scale = static_cast<float>(std::bit_cast<std::int8_t>(scales[i / 16]));
    to[i] = d * scale * static_cast<float>((four | two << 4) - 32);
  }
}

struct DecoderRow {
  GgmlType type;
  void (*decode)(const std::byte* from, float* to);  // one block
  BlockForm form;
};

constexpr std::array<DecoderRow, 11> kDecoders = {{
    {GgmlType::kF32, DecodeElement<float>, {32, 0}},
    {GgmlType::kF16, DecodeElement<F16>, {16, 0}},
    {GgmlType::kBF16, DecodeElement<BF16>, {16, 0}},
    {GgmlType::kQ4_0, DecodeQ4_0, {4, 32}},
    {GgmlType::kQ4_1, DecodeQ4_1, {4, 32}},
    {GgmlType::kQ5_0, DecodeQ5_0, {5, 32}},
    {GgmlType::kQ5_1, DecodeQ5_1, {5, 32}},
    {GgmlType::kQ8_0, DecodeQ8_0, {8, 32}},
    {GgmlType::kQ4_K, DecodeQ4_K, {4, 32}},
    {GgmlType::kQ5_K, DecodeQ5_K, {5, 32}},
    {GgmlType::kQ6_K, DecodeQ6_K, {6, 16}},
}};

const DecoderRow* FindDecoder(const GgmlTypeRow& type) {
  for (const DecoderRow& row : kDecoders) {
    if (static_cast<std::uint32_t>(row.type) == type.number) return &row;
  }
  return nullptr;
}

Error Unstorable(std::string_view name, GgmlType type, std::string_view what) {
  return MakeError(ErrorCode::kUnsupported, "tensor {}: cannot be stored as {}: {}", name,
                   InfoOf(type).name, what);
}

// The half, or an error where it overflows (or the value was not finite before).
Result<F16> ToHalf(float value, std::string_view name, GgmlType type, std::string_view what) {
  const F16 half = ToF16(value);
  if ((half.bits & 0x7c00U) != 0x7c00U) return half;
  return Unstorable(name, type, fmt::format("the {} {} is no finite fp16 number", what, value));
}

void PutHalf(F16 half, std::byte* to) { std::memcpy(to, &half.bits, sizeof(half.bits)); }

void PutHalves(const std::array<std::uint8_t, kSmall>& codes, std::byte* to) {
  for (std::size_t i = 0; i < kSmall / 2; ++i) {
    to[i] = static_cast<std::byte>(codes[i] | codes[i + kSmall / 2] << 4);
  }
}

using SmallBlock = std::span<const float, kSmall>;

// d = (the value of the largest magnitude) / -8, so that this value has the code 0.
Status EncodeQ4_0(SmallBlock x, std::byte* to, std::string_view name) {
  float largest = 0;
  for (const float value : x) largest = std::fabs(value) > std::fabs(largest) ? value : largest;
  const float d = largest / -8;
  AWQ_ASSIGN(const F16 half, ToHalf(d, name, GgmlType::kQ4_0, "scale"));
  const float inverse = d == 0 ? 0 : 1 / d;
  std::array<std::uint8_t, kSmall> codes;
  for (std::size_t i = 0; i < kSmall; ++i) {
    codes[i] = static_cast<std::uint8_t>(std::min(15, static_cast<int>(x[i] * inverse + 8.5F)));
  }
  PutHalf(half, to);
  PutHalves(codes, to + 2);
  return {};
}

Status EncodeQ4_1(SmallBlock x, std::byte* to, std::string_view name) {
  float least = x[0];
  float most = x[0];
  for (const float value : x) {
    least = std::min(least, value);
    most = std::max(most, value);
  }
  const float d = (most - least) / 15;
  AWQ_ASSIGN(const F16 half, ToHalf(d, name, GgmlType::kQ4_1, "scale"));
  AWQ_ASSIGN(const F16 minimum, ToHalf(least, name, GgmlType::kQ4_1, "minimum"));
  const float inverse = d == 0 ? 0 : 1 / d;
  std::array<std::uint8_t, kSmall> codes;
  for (std::size_t i = 0; i < kSmall; ++i) {
    const auto code = static_cast<int>((x[i] - least) * inverse + 0.5F);
    codes[i] = static_cast<std::uint8_t>(std::min(15, code));
  }
  PutHalf(half, to);
  PutHalf(minimum, to + 2);
  PutHalves(codes, to + 4);
  return {};
}

Status EncodeQ8_0(SmallBlock x, std::byte* to, std::string_view name) {
  float largest = 0;
  for (const float value : x) largest = std::max(largest, std::fabs(value));
  const float d = largest / 127;
  AWQ_ASSIGN(const F16 half, ToHalf(d, name, GgmlType::kQ8_0, "scale"));
  const float inverse = d == 0 ? 0 : 1 / d;
  PutHalf(half, to);
  for (std::size_t i = 0; i < kSmall; ++i) {
    to[2 + i] = std::bit_cast<std::byte>(static_cast<std::int8_t>(std::round(x[i] * inverse)));
  }
  return {};
}

Status EncodeElement(GgmlType type, float value, std::byte* to, std::string_view name) {
  if (type == GgmlType::kF32) {
    std::memcpy(to, &value, sizeof(value));
  } else if (type == GgmlType::kBF16) {
    const BF16 stored = ToBF16(value);
    if (!std::isfinite(ToFloat(stored))) return Unstorable(name, type, "a value overflows");
    std::memcpy(to, &stored.bits, sizeof(stored.bits));
  } else {
    AWQ_ASSIGN(const F16 half, ToHalf(value, name, type, "value"));
    PutHalf(half, to);
  }
  return {};
}

Status EncodeBlock(GgmlType type, std::span<const float> x, std::byte* to, std::string_view name) {
  switch (type) {
    case GgmlType::kQ4_0:
      return EncodeQ4_0(x.first<kSmall>(), to, name);
    case GgmlType::kQ4_1:
      return EncodeQ4_1(x.first<kSmall>(), to, name);
    case GgmlType::kQ8_0:
      return EncodeQ8_0(x.first<kSmall>(), to, name);
    default:
      return EncodeElement(type, x[0], to, name);
  }
}

}  // namespace

bool CanDequantize(const GgmlTypeRow& type) { return FindDecoder(type) != nullptr; }

BlockForm FormOf(const GgmlTypeRow& type) {
  const DecoderRow* row = FindDecoder(type);
  AWQ_CHECK(row != nullptr);
  return row->form;
}

void DequantizeBlocks(const GgmlTypeRow& type, std::span<const std::byte> blocks,
                      std::span<float> values) {
  const DecoderRow* row = FindDecoder(type);
  AWQ_CHECK(row != nullptr);
  AWQ_CHECK_EQ(values.size() % type.block_elements, 0U);
  AWQ_CHECK_EQ(blocks.size(), values.size() / type.block_elements * type.block_bytes);
  const std::byte* from = blocks.data();
  for (std::size_t i = 0; i < values.size(); i += type.block_elements) {
    row->decode(from, values.data() + i);
    from += type.block_bytes;
  }
}

Status EncodeBlocks(GgmlType type, std::span<const float> values, std::span<std::byte> blocks,
                    std::string_view name) {
  const GgmlTypeRow& info = InfoOf(type);
  AWQ_CHECK_EQ(values.size() % info.block_elements, 0U);
  AWQ_CHECK_EQ(blocks.size(), values.size() / info.block_elements * info.block_bytes);
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i])) {
      return Unstorable(name, type, "it has values that are infinite or NaN");
    }
  }
  std::byte* to = blocks.data();
  for (std::size_t i = 0; i < values.size(); i += info.block_elements) {
    AWQ_TRY(EncodeBlock(type, values.subspan(i, info.block_elements), to, name));
    to += info.block_bytes;
  }
  return {};
}

Result<GgmlType> BlockTypeOf(const quant::Spec& spec, std::size_t in_features,
                             std::string_view name) {
  if (spec.act_order) {
    return MakeError(ErrorCode::kUnsupported,
                     "{}: GGUF has no room for features that choose their group (act order)", name);
  }
  const std::size_t group = spec.group_size == 0 ? in_features : spec.group_size;
  if (group % kSmall != 0 || in_features % kSmall != 0) {
    return MakeError(ErrorCode::kUnsupported,
                     "{}: GGUF stores blocks of {}: groups of {} in rows of {} are no multiples",
                     name, kSmall, group, in_features);
  }
  if (spec.bits <= 4) return spec.symmetric ? GgmlType::kQ4_0 : GgmlType::kQ4_1;
  if (spec.symmetric) return GgmlType::kQ8_0;
  return MakeError(ErrorCode::kUnsupported,
                   "{}: no type of GGUF holds {}-bit codes with zero points; quantize "
                   "symmetrically, or with 4 bits",
                   name, spec.bits);
}

void RowChanges::Add(const RowChanges& other) {
  groups += other.groups;
  scales.Add(other.scales);
  minima.Add(other.minima);
}

Result<RowChanges> EncodeCodes(GgmlType type, const CodedRow& row, std::span<std::byte> blocks,
                               std::string_view name) {
  const GgmlTypeRow& info = InfoOf(type);
  AWQ_CHECK_EQ(row.codes.size() % kSmall, 0U);
  AWQ_CHECK_EQ(row.group_size % kSmall, 0U);
  AWQ_CHECK_EQ(blocks.size(), row.codes.size() / kSmall * info.block_bytes);
  RowChanges changes;
  for (std::size_t first = 0; first < row.codes.size(); first += kSmall) {
    const std::size_t group = first / row.group_size;
    const float scale = row.scales[group];
    const int zero = row.zeros[group];
    const float minimum = zero == 0 ? 0 : -scale * static_cast<float>(zero);
    std::byte* to = blocks.data() + first / kSmall * info.block_bytes;
    AWQ_ASSIGN(const F16 d, ToHalf(scale, name, type, "scale"));
    PutHalf(d, to);
    RowChanges block;
    block.scales.Note(scale, ToFloat(d));
    if (type == GgmlType::kQ4_1) {
      AWQ_ASSIGN(const F16 m, ToHalf(minimum, name, type, "minimum"));
      PutHalf(m, to + 2);
      block.minima.Note(minimum, ToFloat(m));
    }
    block.groups = block.scales.count + block.minima.count > 0 ? 1 : 0;
    if (first % row.group_size == 0) changes.Add(block);
    std::array<std::uint8_t, kSmall> codes;
    for (std::size_t i = 0; i < kSmall; ++i) {
      const int centre = type == GgmlType::kQ4_0 ? 8 - zero : type == GgmlType::kQ8_0 ? -zero : 0;
      codes[i] = static_cast<std::uint8_t>(row.codes[first + i] + centre);
    }
    if (type == GgmlType::kQ8_0) {
      std::memcpy(to + 2, codes.data(), kSmall);
    } else {
      PutHalves(codes, to + (type == GgmlType::kQ4_1 ? 4 : 2));
    }
  }
  return changes;
}

std::optional<quant::Spec> SpecOf(const GgmlTypeRow& type) {
  switch (static_cast<GgmlType>(type.number)) {
    case GgmlType::kQ4_0:
      return quant::Spec{4, kSmall, true};
    case GgmlType::kQ4_1:
      return quant::Spec{4, kSmall, false};
    case GgmlType::kQ8_0:
      return quant::Spec{8, kSmall, true};
    default:
      return std::nullopt;
  }
}

bool ShareScales(const GgmlTypeRow& type, std::span<const std::byte> blocks,
                 std::size_t group_size) {
  const std::size_t head_bytes = static_cast<GgmlType>(type.number) == GgmlType::kQ4_1 ? 4 : 2;
  const std::size_t in_group = group_size / kSmall;
  for (std::size_t i = 0; i < blocks.size() / type.block_bytes; ++i) {
    const std::byte* first = blocks.data() + i / in_group * in_group * type.block_bytes;
    if (std::memcmp(first, blocks.data() + i * type.block_bytes, head_bytes) != 0) return false;
  }
  return true;
}

namespace {

// Scale and zero point of a block, and what its codes become.
struct Group {
  float scale = 1;
  int zero = 0;
  std::optional<int> all_codes;  // where they say nothing
  Movement minima;               // of the one minimum, where the zero point gives another
};

// The weights are all `value`.
Group ConstantGroup(float value, int middle) {
  if (value == 0) return {1, middle, middle, {}};
  return {std::fabs(value), value < 0 ? 1 : 0, value < 0 ? 0 : 1, {}};
}

Result<Group> GroupOf(const GgmlTypeRow& type, const std::byte* block, std::string_view name) {
  const bool has_minimum = static_cast<GgmlType>(type.number) == GgmlType::kQ4_1;
  const float scale = HalfAt(block);
  const float minimum = has_minimum ? HalfAt(block + 2) : 0;
  if (!std::isfinite(scale) || !std::isfinite(minimum)) {
    return MakeError(ErrorCode::kCorrupt, "tensor {}: a block's scale {} or minimum {}", name,
                     scale, minimum);
  }
  const int middle = SpecOf(type)->mid_code();
  if (scale == 0) return ConstantGroup(minimum, middle);
  if (!has_minimum) return Group{scale, middle, std::nullopt, {}};
  const float ratio = std::round(-minimum / scale);
  const int zero = ratio >= 0 && ratio <= 15 ? static_cast<int>(ratio) : 0;
  const float product = scale * static_cast<float>(zero);
  if (RoundToF16(product) != -minimum) {
    return MakeError(ErrorCode::kUnsupported,
                     "tensor {}: a block has the scale {} and the minimum {}, and no zero point "
                     "gives that; awq quantize makes codes of such a file's weights",
                     name, scale, minimum);
  }
  Group group{scale, zero, std::nullopt, {}};
  group.minima.Note(minimum, -product);
  return group;
}

int CodeAt(GgmlType type, const std::byte* block, std::size_t i) {
  if (type == GgmlType::kQ8_0) return std::bit_cast<std::int8_t>(block[2 + i]) + 128;
  const int pair = Byte(block + (type == GgmlType::kQ4_1 ? 4 : 2) + i % (kSmall / 2));
  return i < kSmall / 2 ? pair & 15 : pair >> 4;
}

}  // namespace

Result<RowChanges> DecodeCodes(const GgmlTypeRow& type, std::span<const std::byte> blocks,
                               const MutableCodedRow& row, std::string_view name) {
  AWQ_CHECK_EQ(blocks.size(), row.codes.size() / kSmall * type.block_bytes);
  AWQ_CHECK_EQ(row.codes.size() / row.group_size, row.scales.size());
  const auto number = static_cast<GgmlType>(type.number);
  RowChanges changes;
  for (std::size_t first = 0; first < row.codes.size(); first += kSmall) {
    const std::byte* block = blocks.data() + first / kSmall * type.block_bytes;
    AWQ_ASSIGN(const Group group, GroupOf(type, block, name));
    const std::size_t index = first / row.group_size;
    row.scales[index] = group.scale;
    row.zeros[index] = static_cast<std::uint8_t>(group.zero);
    if (first % row.group_size == 0) {
      changes.groups += group.minima.count;
      changes.minima.Add(group.minima);
    }
    for (std::size_t i = 0; i < kSmall; ++i) {
      row.codes[first + i] =
          static_cast<std::uint8_t>(group.all_codes.value_or(CodeAt(number, block, i)));
    }
  }
  return changes;
}

}  // namespace awq::pack
