#include "text/json_node.h"

#include "base/error.h"
#include "text/utf8.h"

namespace awq::text {

std::string Shorten(const nlohmann::json& json) {
  constexpr std::size_t kShownBytes = 60;
  if (json.is_object()) return fmt::format("an object of {} members", json.size());
  if (json.is_array()) return fmt::format("an array of {} elements", json.size());
  if (!json.is_string()) return json.dump();
  std::string_view text = json.get_ref<const std::string&>();
  if (text.size() <= kShownBytes) return fmt::format("\"{}\"", text);
  std::size_t end = kShownBytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return fmt::format("\"{}...\" ({} bytes)", text.substr(0, end), text.size());
}

Error JsonNode::Wrong(std::string_view expected) const {
  return MakeError(ErrorCode::kCorrupt, "{}: expected {}, found {}", path_, expected,
                   Shorten(*json_));
}

std::optional<JsonNode> JsonNode::Find(std::string_view key) const {
  if (!json_->is_object()) return std::nullopt;
  const auto found = json_->find(std::string(key));
  if (found == json_->end() || found->is_null()) return std::nullopt;
  return JsonNode(*found, path_ + (is_root_ ? ": " : ".") + std::string(key));
}

Result<JsonNode> JsonNode::Get(std::string_view key) const {
  if (!json_->is_object()) return Wrong("an object");
  if (auto found = Find(key)) return *std::move(found);
  return MakeError(ErrorCode::kCorrupt, "{}: \"{}\" is missing", path_, key);
}

Result<std::string> JsonNode::String() const {
  if (!json_->is_string()) return Wrong("a string");
  return json_->get<std::string>();
}

Result<std::string_view> JsonNode::StringView() const {
  if (!json_->is_string()) return Wrong("a string");
  return std::string_view(json_->get_ref<const std::string&>());
}

Result<bool> JsonNode::Bool() const {
  if (!json_->is_boolean()) return Wrong("true or false");
  return json_->get<bool>();
}

Result<std::int64_t> JsonNode::Integer(std::int64_t low, std::int64_t high) const {
  const std::string expected = fmt::format("an integer from {} to {}", low, high);
  if (!json_->is_number_integer()) return Wrong(expected);
  if (json_->is_number_unsigned() && json_->get<std::uint64_t>() > INT64_MAX) {
    return Wrong(expected);
  }
  const auto value = json_->get<std::int64_t>();
  if (value < low || value > high) return Wrong(expected);
  return value;
}

Result<std::vector<JsonNode>> JsonNode::Array() const {
  if (!json_->is_array()) return Wrong("an array");
  std::vector<JsonNode> nodes;
  for (std::size_t i = 0; i < json_->size(); ++i) {
    nodes.emplace_back((*json_)[i], fmt::format("{}[{}]", path_, i));
  }
  return nodes;
}

Result<char32_t> JsonNode::Character() const {
  AWQ_ASSIGN(const std::string text, String());
  if (text.empty() || !IsValidUtf8(text)) return Wrong("one character");
  const Utf8Char first = DecodeUtf8(text, 0);
  if (first.bytes != text.size()) return Wrong("one character");
  return first.code;
}

Result<bool> JsonNode::BoolOr(std::string_view key, bool fallback) const {
  const auto found = Find(key);
  if (!found) return fallback;
  return found->Bool();
}

Result<std::string> JsonNode::StringOr(std::string_view key, std::string fallback) const {
  const auto found = Find(key);
  if (!found) return fallback;
  return found->String();
}

}  // namespace awq::text
