#include <cmath>
#include <cstring>

#include "base/error.h"
#include "io/gguf.h"

namespace awq::io {
namespace {

template <class T>
double ElementAt(const GgufArray& array, std::size_t i) {
  T value;
  std::memcpy(&value, array.bytes.data() + i * sizeof(T), sizeof(T));
  return static_cast<double>(value);
}

// The element of an array of numbers, or nothing. 64-bit integers may be rounded.
std::optional<double> NumberAt(const GgufArray& array, std::size_t i) {
  switch (array.element) {
    case GgufValueType::kU8:
      return ElementAt<std::uint8_t>(array, i);
    case GgufValueType::kI8:
      return ElementAt<std::int8_t>(array, i);
    case GgufValueType::kU16:
      return ElementAt<std::uint16_t>(array, i);
    case GgufValueType::kI16:
      return ElementAt<std::int16_t>(array, i);
    case GgufValueType::kU32:
      return ElementAt<std::uint32_t>(array, i);
    case GgufValueType::kI32:
      return ElementAt<std::int32_t>(array, i);
    case GgufValueType::kF32:
      return ElementAt<float>(array, i);
    case GgufValueType::kU64:
      return ElementAt<std::uint64_t>(array, i);
    case GgufValueType::kI64:
      return ElementAt<std::int64_t>(array, i);
    case GgufValueType::kF64:
      return ElementAt<double>(array, i);
    case GgufValueType::kBool:
    case GgufValueType::kString:
    case GgufValueType::kArray:
      break;
  }
  return std::nullopt;
}

// The integer that all elements are.
std::optional<std::size_t> CommonSize(const GgufArray& array) {
  std::optional<double> common;
  for (std::size_t i = 0; i < array.count; ++i) {
    const auto value = NumberAt(array, i);
    if (!value || (common && *value != *common)) return std::nullopt;
    common = value;
  }
  constexpr double kExact = 0x1p53;
  if (!common || !(*common >= 0) || *common > kExact || *common != std::floor(*common)) {
    return std::nullopt;
  }
  return static_cast<std::size_t>(*common);
}

}  // namespace

const GgufValue* GgufMetadata::Find(std::string_view key) const {
  const auto found = values.find(key);
  return found == values.end() ? nullptr : &found->second;
}

Error GgufMetadata::Wrong(std::string_view key, std::string_view expected) const {
  return MakeError(ErrorCode::kCorrupt, "{}: the value of {} is not {}", file, key, expected);
}

Result<std::optional<std::string_view>> GgufMetadata::String(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::optional<std::string_view>();
  if (const auto* text = std::get_if<std::string_view>(value)) return std::optional(*text);
  return Wrong(key, "a string");
}

Result<std::optional<bool>> GgufMetadata::Bool(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::optional<bool>();
  if (const auto* truth = std::get_if<bool>(value)) return std::optional(*truth);
  return Wrong(key, "a truth value");
}

Result<std::optional<double>> GgufMetadata::Number(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::optional<double>();
  if (const auto* number = std::get_if<double>(value)) return std::optional(*number);
  if (const auto* whole = std::get_if<std::uint64_t>(value)) {
    return std::optional(static_cast<double>(*whole));
  }
  if (const auto* whole = std::get_if<std::int64_t>(value)) {
    return std::optional(static_cast<double>(*whole));
  }
  return Wrong(key, "a number");
}

Result<std::optional<std::size_t>> GgufMetadata::Size(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::optional<std::size_t>();
  if (const auto* whole = std::get_if<std::uint64_t>(value)) {
    return std::optional(static_cast<std::size_t>(*whole));
  }
  if (const auto* whole = std::get_if<std::int64_t>(value); whole != nullptr && *whole >= 0) {
    return std::optional(static_cast<std::size_t>(*whole));
  }
  if (const auto* array = std::get_if<GgufArray>(value)) {
    if (const auto common = CommonSize(*array)) return common;
    return Wrong(key, "one integer >= 0, or one that is the same for all layers");
  }
  return Wrong(key, "an integer >= 0");
}

Result<std::size_t> GgufMetadata::RequireSize(std::string_view key) const {
  AWQ_ASSIGN(const auto value, Size(key));
  if (value) return *value;
  return MakeError(ErrorCode::kNotFound, "{}: the key {} is missing", file, key);
}

Result<std::string_view> GgufMetadata::RequireString(std::string_view key) const {
  AWQ_ASSIGN(const auto value, String(key));
  if (value) return *value;
  return MakeError(ErrorCode::kNotFound, "{}: the key {} is missing", file, key);
}

Result<std::vector<std::string_view>> GgufMetadata::Strings(std::string_view key) const {
  std::vector<std::string_view> strings;
  const GgufValue* value = Find(key);
  if (value == nullptr) return strings;
  const auto* array = std::get_if<GgufArray>(value);
  if (array == nullptr || array->element != GgufValueType::kString) {
    return Wrong(key, "an array of strings");
  }
  strings.reserve(array->count);
  const std::byte* at = array->bytes.data();
  for (std::size_t i = 0; i < array->count; ++i) {
    std::uint64_t length = 0;
    std::memcpy(&length, at, sizeof(length));
    at += sizeof(length);
    strings.emplace_back(reinterpret_cast<const char*>(at), length);
    at += length;
  }
  return strings;
}

Result<std::vector<double>> GgufMetadata::Numbers(std::string_view key) const {
  std::vector<double> numbers;
  const GgufValue* value = Find(key);
  if (value == nullptr) return numbers;
  const auto* array = std::get_if<GgufArray>(value);
  if (array == nullptr) return Wrong(key, "an array of numbers");
  numbers.reserve(array->count);
  for (std::size_t i = 0; i < array->count; ++i) {
    const auto number = NumberAt(*array, i);
    if (!number) return Wrong(key, "an array of numbers");
    numbers.push_back(*number);
  }
  return numbers;
}

}  // namespace awq::io
