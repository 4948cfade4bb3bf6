// Element types, as safetensors names them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace awq {

// Only the first three are computed with; the others can be in a file, and most stay unread.
enum class DType : std::uint8_t {
  kF32,
  kF16,
  kBF16,
  kI64,
  kI32,
  kI16,
  kU8,
  kI8,
  kF64,
  kU64,
  kU32,
  kU16,
  kBool,
  kF8E4M3,
  kF8E5M2,
};

std::size_t ElementBytes(DType dtype);
std::string_view DTypeName(DType dtype);  // "F32", "BF16", ...
std::optional<DType> ParseDType(std::string_view name);

// 16-bit floats are kept as bits; arithmetic is always in float.
struct BF16 {
  std::uint16_t bits = 0;
};
struct F16 {
  std::uint16_t bits = 0;
};

float ToFloat(BF16 value);
float ToFloat(F16 value);
BF16 ToBF16(float value);  // round to nearest even; NaN stays NaN
F16 ToF16(float value);    // round to nearest even; overflow becomes infinity

// The nearest value that fp16 can hold: what is measured is then what is stored.
inline float RoundToF16(float value) { return ToFloat(ToF16(value)); }

}  // namespace awq
