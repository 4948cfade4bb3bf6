// Reading a parsed JSON file field by field; every error says file, field, expected and found.
#pragma once

#include <awq/result.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace awq::text {

// A value and its path. Does not own the tree. Members of an object that are null count as absent.
class JsonNode {
 public:
  JsonNode(const nlohmann::json& json, std::string path) : json_(&json), path_(std::move(path)) {}
  static JsonNode Root(const nlohmann::json& json, std::string name) {
    JsonNode root(json, std::move(name));
    root.is_root_ = true;
    return root;
  }

  const nlohmann::json& json() const { return *json_; }
  const std::string& path() const { return path_; }  // "tokenizer.json: model.vocab"

  std::optional<JsonNode> Find(std::string_view key) const;
  Result<JsonNode> Get(std::string_view key) const;

  Result<std::string> String() const;
  Result<std::string_view> StringView() const;  // into the tree
  Result<bool> Bool() const;
  Result<std::int64_t> Integer(std::int64_t low, std::int64_t high) const;
  Result<std::vector<JsonNode>> Array() const;
  Result<char32_t> Character() const;  // a string of exactly one code point

  Result<bool> BoolOr(std::string_view key, bool fallback) const;
  Result<std::string> StringOr(std::string_view key, std::string fallback) const;

  Error Wrong(std::string_view expected) const;

 private:
  const nlohmann::json* json_;
  std::string path_;
  bool is_root_ = false;
};

// A value as an error message shows it: short, whatever it holds.
std::string Shorten(const nlohmann::json& json);

}  // namespace awq::text
