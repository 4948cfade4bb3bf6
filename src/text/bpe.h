// Byte-pair encoding of one word: characters or bytes, joined pair by pair in the order of ranks.
#pragma once

#include <awq/result.h>

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "text/json_node.h"
#include "text/merge_table.h"
#include "text/word_cache.h"

namespace awq::text {

// Ids stay below this, so that tables over ids stay small whatever a file says.
inline constexpr std::int32_t kMaxTokenId = (1 << 22) - 1;

// Working memory of one thread, and what it did.
struct BpeScratch {
  explicit BpeScratch(std::uint64_t seed) : cache(seed) {}

  WordCache cache;
  MergeScratch merge;
  std::vector<std::int32_t> word_ids;
};

struct BpeConfig {
  std::optional<std::string> unk_token;
  std::string continuing_subword_prefix;
  std::string end_of_word_suffix;
  bool fuse_unk = false;
  bool byte_fallback = false;
  bool ignore_merges = false;
};

class BpeModel {
 public:
  // The object under "model". Refused: other model types and dropout (kUnsupported); merges that
  // name unknown tokens, two tokens of one id, ids out of range (kCorrupt).
  static Result<BpeModel> FromJson(const JsonNode& node);
  BpeModel(BpeModel&&) = default;
  BpeModel& operator=(BpeModel&&) = default;
  BpeModel(const BpeModel&) = delete;  // vocab_ points into tokens_
  BpeModel& operator=(const BpeModel&) = delete;

  // Whether EncodeBytes may be used: the vocabulary has a letter for every byte of UTF-8.
  bool has_byte_alphabet() const { return has_byte_alphabet_; }

  // Appends the ids of one word of valid UTF-8. Fails only where the file's unk_token is needed
  // and is not in the vocabulary.
  Status Encode(std::string_view word, BpeScratch& scratch, std::vector<std::int32_t>& ids) const;
  // The same for the word whose byte letters these bytes are, without writing the letters.
  Status EncodeBytes(std::string_view word, BpeScratch& scratch,
                     std::vector<std::int32_t>& ids) const;

  std::size_t vocab_size() const { return vocab_.size(); }
  std::optional<std::int32_t> TokenToId(std::string_view token) const;
  // By id; holes are empty.
  const std::vector<std::optional<std::string>>& tokens() const { return tokens_; }

 private:
  BpeModel() = default;
  using Vocabulary = std::unordered_map<std::string_view, std::int32_t>;

  Status ReadVocabulary(const JsonNode& node);
  Status ReadMerges(const JsonNode& node);
  std::string AddMerge(const nlohmann::json& merge);  // what was expected; empty: it is that
  void IndexBytes();

  // One stretch that no merge crosses.
  Status EncodeStretch(std::string_view word, bool bytes, BpeScratch& scratch,
                       std::vector<std::int32_t>& ids) const;
  Status AppendSymbols(std::string_view word, std::vector<std::int32_t>& ids) const;
  Status AppendUnknown(std::int32_t& pending, std::vector<std::int32_t>& ids) const;
  bool AppendByteFallback(std::string_view letters, std::vector<std::int32_t>& ids) const;

  BpeConfig config_;
  std::vector<std::optional<std::string>> tokens_;
  Vocabulary vocab_;  // keys point into tokens_
  MergeTable merges_;
  std::uint64_t merge_rank_ = 0;

  std::optional<std::int32_t> unk_id_;
  std::array<std::int32_t, 256> byte_letter_ids_{};    // the symbol of a byte's letter, or -1
  std::array<std::int32_t, 256> byte_fallback_ids_{};  // <0xNN>, or -1
  bool has_byte_alphabet_ = false;
  std::vector<std::string> byte_words_;  // what byte_vocab_ points to
  Vocabulary byte_vocab_;                // the vocabulary in bytes, for ignore_merges
  // No merge joins something else to a U+2581 behind it, so a text may be cut there; a whole text
  // that is one word becomes words that the cache knows.
  bool cuts_at_metaspace_ = false;
};

}  // namespace awq::text
