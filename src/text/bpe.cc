#include "text/bpe.h"

#include <algorithm>

#include "base/error.h"
#include "text/byte_alphabet.h"
#include "text/utf8.h"

namespace awq::text {
namespace {

constexpr std::string_view kMetaspace = "\xE2\x96\x81";  // U+2581

// The end of the stretch that begins at `start`: the next U+2581 behind anything else.
std::size_t StretchEnd(std::string_view word, std::size_t start) {
  for (std::size_t i = start;;) {
    const std::size_t found = word.find(kMetaspace, i);
    if (found == std::string_view::npos) return word.size();
    if (found > start && !word.substr(0, found).ends_with(kMetaspace)) return found;
    i = found + kMetaspace.size();
  }
}

}  // namespace

std::optional<std::int32_t> BpeModel::TokenToId(std::string_view token) const {
  const auto found = vocab_.find(token);
  if (found == vocab_.end()) return std::nullopt;
  return found->second;
}

Status BpeModel::Encode(std::string_view word, BpeScratch& scratch,
                        std::vector<std::int32_t>& ids) const {
  if (config_.ignore_merges) {
    if (const auto id = TokenToId(word)) {
      ids.push_back(*id);
      return {};
    }
  }
  if (!cuts_at_metaspace_) return EncodeStretch(word, false, scratch, ids);
  for (std::size_t start = 0; start < word.size();) {
    const std::size_t end = StretchEnd(word, start);
    AWQ_TRY(EncodeStretch(word.substr(start, end - start), false, scratch, ids));
    start = end;
  }
  return {};
}

Status BpeModel::EncodeBytes(std::string_view word, BpeScratch& scratch,
                             std::vector<std::int32_t>& ids) const {
  if (config_.ignore_merges) {
    if (const auto found = byte_vocab_.find(word); found != byte_vocab_.end()) {
      ids.push_back(found->second);
      return {};
    }
  }
  return EncodeStretch(word, true, scratch, ids);
}

Status BpeModel::EncodeStretch(std::string_view word, bool bytes, BpeScratch& scratch,
                               std::vector<std::int32_t>& ids) const {
  if (const auto known = scratch.cache.Find(word)) {
    ids.insert(ids.end(), known->begin(), known->end());
    return {};
  }
  auto& word_ids = scratch.word_ids;
  word_ids.clear();
  if (bytes) {
    for (char byte : word) word_ids.push_back(byte_letter_ids_[static_cast<unsigned char>(byte)]);
  } else {
    AWQ_TRY(AppendSymbols(word, word_ids));
  }
  merges_.Merge(word_ids, scratch.merge);
  scratch.cache.Insert(word, word_ids);
  ids.insert(ids.end(), word_ids.begin(), word_ids.end());
  return {};
}

// Follows the reference where a file is odd: byte fallback leaves an unknown token pending, and
// without an unk_token unknown characters vanish.
Status BpeModel::AppendSymbols(std::string_view word, std::vector<std::int32_t>& ids) const {
  std::int32_t pending = -1;
  std::string decorated;
  for (std::size_t i = 0; i < word.size();) {
    const std::size_t length = DecodeUtf8(word, i).bytes;
    std::string_view symbol = word.substr(i, length);
    const bool first = i == 0;
    i += length;
    const std::string_view prefix =
        first ? "" : std::string_view(config_.continuing_subword_prefix);
    const std::string_view suffix =
        i == word.size() ? std::string_view(config_.end_of_word_suffix) : "";
    if (!prefix.empty() || !suffix.empty()) {
      decorated.assign(prefix).append(symbol).append(suffix);
      symbol = decorated;
    }
    if (const auto id = TokenToId(symbol)) {
      if (pending >= 0) ids.push_back(std::exchange(pending, -1));
      ids.push_back(*id);
      continue;
    }
    if (config_.byte_fallback && AppendByteFallback(symbol, ids)) continue;
    AWQ_TRY(AppendUnknown(pending, ids));
  }
  if (pending >= 0) ids.push_back(pending);
  return {};
}

Status BpeModel::AppendUnknown(std::int32_t& pending, std::vector<std::int32_t>& ids) const {
  if (!config_.unk_token) return {};
  if (pending >= 0 && config_.fuse_unk) return {};
  if (pending >= 0) ids.push_back(pending);
  if (!unk_id_) {
    return MakeError(ErrorCode::kCorrupt,
                     "the text has a character that the tokenizer does not know, and its unk_token "
                     "\"{}\" is not in its vocabulary",
                     *config_.unk_token);
  }
  pending = *unk_id_;
  return {};
}

bool BpeModel::AppendByteFallback(std::string_view letters, std::vector<std::int32_t>& ids) const {
  const auto id_of = [&](char c) { return byte_fallback_ids_[static_cast<unsigned char>(c)]; };
  if (std::any_of(letters.begin(), letters.end(), [&](char c) { return id_of(c) < 0; })) {
    return false;
  }
  for (char c : letters) ids.push_back(id_of(c));
  return true;
}

}  // namespace awq::text
