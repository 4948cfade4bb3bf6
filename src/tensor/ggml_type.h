// The tensor types of GGUF, numbered as ggml numbers them: rows of blocks of elements.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "tensor/dtype.h"

namespace awq {

// All that a file may hold have a row in GgmlTypeInfo; those named here are read or written.
enum class GgmlType : std::uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kBF16 = 30,
};

struct GgmlTypeRow {
  std::uint32_t number;
  std::string_view name;
  std::size_t block_elements;
  std::size_t block_bytes;
};

// nullptr: not a type that we know the size of.
const GgmlTypeRow* FindGgmlType(std::uint32_t number);
const GgmlTypeRow& InfoOf(GgmlType type);

// The element type of F32, F16 and BF16; nothing for types of blocks.
std::optional<DType> ElementType(GgmlType type);

}  // namespace awq
