#include "io/fields.h"

#include <cmath>
#include <cstdint>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace awq::io {

std::string Excerpt(const nlohmann::json& value) {
  constexpr std::size_t kMaxChars = 60;
  if (value.is_structured() && value.size() > 16) {
    return fmt::format("{} of {} values", value.type_name(), value.size());
  }
  std::string text = value.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
  if (text.size() > kMaxChars) text = text.substr(0, kMaxChars) + "...";
  return text;
}

std::optional<std::size_t> AsSize(const nlohmann::json& value) {
  if (value.is_number_unsigned()) return value.get<std::size_t>();
  if (!value.is_number_integer() || value.get<std::int64_t>() < 0) return std::nullopt;
  return value.get<std::size_t>();
}

const nlohmann::json* Fields::Find(const char* key) const {
  const auto member = object_.find(key);
  return member == object_.end() || member->is_null() ? nullptr : &*member;
}

Error Fields::Missing(const char* key, const char* kind) const {
  return MakeError(ErrorCode::kCorrupt, "{}: \"{}\" is missing ({} is expected)", place_, key,
                   kind);
}

Error Fields::Wrong(const char* key, const std::string& expected) const {
  return MakeError(ErrorCode::kCorrupt, "{}: \"{}\" is {}; expected {}", place_, key,
                   Excerpt(*Find(key)), expected);
}

Result<std::size_t> Fields::Size(const char* key, SizeRange range,
                                 std::optional<std::size_t> fallback) const {
  const nlohmann::json* value = Find(key);
  if (value == nullptr) {
    if (fallback) return *fallback;
    return Missing(key, "an integer");
  }
  const auto size = AsSize(*value);
  if (!size || *size < range.least || *size > range.most) {
    return Wrong(key, fmt::format("an integer from {} to {}", range.least, range.most));
  }
  return *size;
}

Result<double> Fields::Number(const char* key, double least, double most,
                              std::optional<double> fallback) const {
  const nlohmann::json* value = Find(key);
  if (value == nullptr) {
    if (fallback) return *fallback;
    return Missing(key, "a number");
  }
  const double number = value->is_number() ? value->get<double>() : std::nan("");
  if (!(number > least && number <= most)) {  // false for NaN too
    return Wrong(key, fmt::format("a number above {} and at most {}", least, most));
  }
  return number;
}

Result<bool> Fields::Bool(const char* key, bool fallback) const {
  const nlohmann::json* value = Find(key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) return Wrong(key, "true or false");
  return value->get<bool>();
}

Result<std::string> Fields::String(const char* key,
                                   const std::optional<std::string>& fallback) const {
  const nlohmann::json* value = Find(key);
  if (value == nullptr) {
    if (fallback) return *fallback;
    return Missing(key, "a string");
  }
  if (!value->is_string()) return Wrong(key, "a string");
  return value->get<std::string>();
}

}  // namespace awq::io
