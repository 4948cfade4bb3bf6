// Tokens that stand outside the model and are cut out of the text before it is tokenized.
#pragma once

#include <awq/result.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/json_node.h"

namespace awq::text {

struct AddedToken {
  std::int32_t id = 0;
  std::string content;
  bool single_word = false;  // only where no letter, digit or mark touches it
  bool lstrip = false;       // takes the whitespace on its left with it
  bool rstrip = false;
  bool normalized = true;  // sought in the normalized text, in its own normalized form
  bool special = false;    // left out when decoding without special tokens
};

// One entry of "added_tokens"; `id` is what the file says, which the caller settles.
Result<AddedToken> AddedTokenFromJson(const JsonNode& node);

// Finds tokens in a text: leftmost, and the longest of those that begin there.
class AddedTokenMatcher {
 public:
  // `pattern` is what to look for. Of equal patterns the first stays; empty ones never match.
  void Add(std::string_view pattern, const AddedToken& token);
  bool empty() const { return tokens_.empty(); }

  struct Piece {
    std::size_t start = 0;
    std::size_t end = 0;
    std::optional<std::int32_t> id;  // empty: ordinary text
  };
  // Calls visit(Piece) -> Status for every piece in order.
  template <class Visit>
  Status VisitPieces(std::string_view text, Visit&& visit) const;

 private:
  struct Found {
    std::size_t start = 0;
    std::size_t end = 0;
    std::size_t token = 0;
  };
  struct Edge {
    unsigned char byte;
    std::uint32_t node;
  };
  struct Node {
    std::vector<Edge> edges;
    std::optional<std::size_t> token;
  };
  std::optional<Found> FindFrom(std::string_view text, std::size_t offset) const;
  std::optional<std::uint32_t> Child(std::uint32_t node, unsigned char byte) const;
  // Widens a match by its strip flags; false where single_word forbids it.
  bool Settle(std::string_view text, std::size_t covered, Found& found) const;

  std::vector<AddedToken> tokens_;
  std::vector<Node> nodes_;
  std::array<bool, 256> starts_{};
};

template <class Visit>
Status AddedTokenMatcher::VisitPieces(std::string_view text, Visit&& visit) const {
  std::size_t covered = 0;
  std::size_t from = 0;
  while (auto found = FindFrom(text, from)) {
    from = found->end;  // stripped whitespace may belong to the next match too
    if (!Settle(text, covered, *found)) continue;
    if (covered < found->start) {
      if (auto status = visit(Piece{covered, found->start, std::nullopt}); !status) return status;
    }
    if (auto status = visit(Piece{found->start, found->end, tokens_[found->token].id}); !status) {
      return status;
    }
    covered = found->end;
  }
  if (covered < text.size()) return visit(Piece{covered, text.size(), std::nullopt});
  return {};
}

}  // namespace awq::text
