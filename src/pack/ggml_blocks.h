// ggml's blocks <-> floats, and the integers of a QuantizedLinear -> blocks. docs/formats/gguf.md
// has the bytes of each type.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "pack/movement.h"
#include "quant/quantized_linear.h"
#include "tensor/ggml_type.h"

namespace awq::pack {

// Whether DequantizeBlocks knows the type.
bool CanDequantize(const GgmlTypeRow& type);

// Whole blocks to floats, with the bits that the definition gives: every operation is rounded to
// float once, products before sums. Sizes must fit each other.
void DequantizeBlocks(const GgmlTypeRow& type, std::span<const std::byte> blocks,
                      std::span<float> values);

// Floats to F32, F16, BF16, Q4_0, Q4_1 or Q8_0, rounded as ggml's reference does. Sizes must fit
// each other. Error: a value that is not finite, or that a half-precision scale cannot reach.
// `name` is the tensor that it names.
Status EncodeBlocks(GgmlType type, std::span<const float> values, std::span<std::byte> blocks,
                    std::string_view name);

// Nominal bits of an element and elements that share a scale: {4, 32} for Q4_0 and Q4_K.
struct BlockForm {
  int bits = 0;
  std::size_t group_size = 0;
};
BlockForm FormOf(const GgmlTypeRow& type);

// The type whose blocks hold these integers as they are: symmetric up to 4 bits Q4_0, asymmetric up
// to 4 bits Q4_1, symmetric above Q8_0. Error: why none does.
Result<GgmlType> BlockTypeOf(const quant::Spec& spec, std::size_t in_features,
                             std::string_view name);

// One row of a linear. Scales are given as floats.
struct CodedRow {
  std::span<const std::uint8_t> codes;  // [in_features]
  std::span<const float> scales;        // [groups]
  std::span<const std::uint8_t> zeros;  // [groups]
  std::size_t group_size = 0;
};

// What a row loses in blocks, or in codes of blocks.
struct RowChanges {
  std::size_t groups = 0;  // whose weights change
  Movement scales;         // of groups
  Movement minima;

  void Add(const RowChanges& other);
};

// Stores the row's integers in blocks of BlockTypeOf's type. Says which groups' weights are changed
// by it: Q4_0 and Q8_0 change those whose scale is no fp16 number; Q4_1 those
// where scale * zero, the negated minimum, is none either. A weight of such a group moves by at
// most 2^-11 |scale| zero, less than 1/136 of a step (2^-25 where that is more), where the scale
// is an fp16 number; else by as much again of what it multiplies. Error: a scale or
// minimum beyond fp16.
Result<RowChanges> EncodeCodes(GgmlType type, const CodedRow& row, std::span<std::byte> blocks,
                               std::string_view name);

// --- and back: codes of Q4_0, Q4_1 and Q8_0 ---

// What the blocks of such a type are; group_size is that of a block. Nothing for other types.
std::optional<quant::Spec> SpecOf(const GgmlTypeRow& type);

// Whether all blocks of each group of `group_size` elements have the same scale (and minimum).
bool ShareScales(const GgmlTypeRow& type, std::span<const std::byte> blocks,
                 std::size_t group_size);

// One row of a linear, to be filled; sizes as those of CodedRow.
struct MutableCodedRow {
  std::span<std::uint8_t> codes;
  std::span<float> scales;
  std::span<std::uint8_t> zeros;
  std::size_t group_size = 0;
};

// The integers of a row whose groups share their scales. A block of Q4_1 has some where its
// minimum is -scale * zero rounded to fp16 for a zero point of 0 to 15, as EncodeCodes writes it. A
// scale of 0 becomes one that gives the same weights. Says which groups' weights change, by
// that rounding. Error: a minimum that no zero point gives, values that are not finite.
Result<RowChanges> DecodeCodes(const GgmlTypeRow& type, std::span<const std::byte> blocks,
                               const MutableCodedRow& row, std::string_view name);

}  // namespace awq::pack
