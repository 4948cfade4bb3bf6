#include "text/added_tokens.h"

#include <algorithm>

#include "base/error.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace awq::text {
namespace {

// A walk from each byte costs up to this; real tokens have a few dozen bytes.
constexpr std::size_t kMaxContentBytes = 1024;

std::size_t LastCharacter(std::string_view text) {
  std::size_t start = text.size() - 1;
  while (start > 0 && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
  return start;
}

}  // namespace

Result<AddedToken> AddedTokenFromJson(const JsonNode& node) {
  AddedToken token;
  AWQ_ASSIGN(const JsonNode id, node.Get("id"));
  AWQ_ASSIGN(const std::int64_t id_value, id.Integer(0, INT32_MAX));
  token.id = static_cast<std::int32_t>(id_value);
  AWQ_ASSIGN(const JsonNode content, node.Get("content"));
  AWQ_ASSIGN(token.content, content.String());
  if (token.content.size() > kMaxContentBytes) {
    return MakeError(ErrorCode::kUnsupported, "{}: {} bytes; at most {} are accepted",
                     content.path(), token.content.size(), kMaxContentBytes);
  }
  AWQ_ASSIGN(token.single_word, node.BoolOr("single_word", false));
  AWQ_ASSIGN(token.lstrip, node.BoolOr("lstrip", false));
  AWQ_ASSIGN(token.rstrip, node.BoolOr("rstrip", false));
  AWQ_ASSIGN(token.special, node.BoolOr("special", false));
  AWQ_ASSIGN(token.normalized, node.BoolOr("normalized", !token.special));
  return token;
}

void AddedTokenMatcher::Add(std::string_view pattern, const AddedToken& token) {
  if (pattern.empty()) return;
  if (nodes_.empty()) nodes_.emplace_back();
  std::uint32_t node = 0;
  for (char c : pattern) {
    const auto byte = static_cast<unsigned char>(c);
    if (const auto child = Child(node, byte)) {
      node = *child;
      continue;
    }
    const auto added = static_cast<std::uint32_t>(nodes_.size());
    auto& edges = nodes_[node].edges;
    edges.insert(std::upper_bound(edges.begin(), edges.end(), byte,
                                  [](unsigned char b, const Edge& e) { return b < e.byte; }),
                 Edge{byte, added});
    nodes_.emplace_back();
    node = added;
  }
  if (nodes_[node].token) return;
  nodes_[node].token = tokens_.size();
  tokens_.push_back(token);
  starts_[static_cast<unsigned char>(pattern[0])] = true;
}

std::optional<std::uint32_t> AddedTokenMatcher::Child(std::uint32_t node,
                                                      unsigned char byte) const {
  const auto& edges = nodes_[node].edges;
  const auto found = std::lower_bound(edges.begin(), edges.end(), byte,
                                      [](const Edge& e, unsigned char b) { return e.byte < b; });
  if (found == edges.end() || found->byte != byte) return std::nullopt;
  return found->node;
}

std::optional<AddedTokenMatcher::Found> AddedTokenMatcher::FindFrom(std::string_view text,
                                                                    std::size_t offset) const {
  if (tokens_.empty()) return std::nullopt;
  for (; offset < text.size(); ++offset) {
    if (!starts_[static_cast<unsigned char>(text[offset])]) continue;
    std::optional<Found> longest;
    std::uint32_t node = 0;
    for (std::size_t i = offset; i < text.size(); ++i) {
      const auto child = Child(node, static_cast<unsigned char>(text[i]));
      if (!child) break;
      node = *child;
      if (nodes_[node].token) longest = Found{offset, i + 1, *nodes_[node].token};
    }
    if (longest) return longest;
  }
  return std::nullopt;
}

bool AddedTokenMatcher::Settle(std::string_view text, std::size_t covered, Found& found) const {
  const AddedToken& token = tokens_[found.token];
  if (token.single_word) {
    const std::string_view before = text.substr(0, found.start);
    if (!before.empty() && IsWord(DecodeUtf8(before, LastCharacter(before)).code)) return false;
    if (found.end < text.size() && IsWord(DecodeUtf8(text, found.end).code)) return false;
  }
  if (token.lstrip) {
    std::size_t start = found.start;
    while (start > 0) {
      const std::size_t last = LastCharacter(text.substr(0, start));
      if (start <= covered || !IsWhitespace(DecodeUtf8(text, last).code)) break;
      start = last;
    }
    found.start = std::max(start, covered);
  }
  if (token.rstrip) {
    while (found.end < text.size()) {
      const Utf8Char c = DecodeUtf8(text, found.end);
      if (!IsWhitespace(c.code)) break;
      found.end += c.bytes;
    }
  }
  return true;
}

}  // namespace awq::text
