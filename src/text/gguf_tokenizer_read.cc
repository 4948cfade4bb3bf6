#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_map>
#include <vector>

#include "base/error.h"
#include "text/bpe.h"
#include "text/gguf_pre_tokenizers.h"
#include "text/gguf_token_type.h"
#include "text/gguf_tokenizer.h"
#include "text/utf8.h"

namespace awq::text {
namespace {

using nlohmann::json;

// Bound the time for finding merges, which looks at every way to cut every token in two.
constexpr std::size_t kMaxTokenBytes = 1024;
constexpr std::size_t kMaxVocabularyBytes = std::size_t{32} << 20;
constexpr std::size_t kMaxPieceBytes = 256;  // of a token that merges make
// Bound what merges take. Real vocabularies have some two for a token, and short ones: llama's
// 61,249 of 422 KB for 32,000 tokens.
constexpr std::size_t kMaxMergesAToken = 4;
constexpr std::size_t kMoreMerges = std::size_t{1} << 14;  // for runs of blanks in small ones
constexpr std::size_t kMaxMerges = std::size_t{1} << 20;
constexpr std::size_t kMaxMergeBytes = std::size_t{16} << 20;

constexpr std::string_view kMetaspace = "\xE2\x96\x81";

json ByteLevel(bool use_regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", false},
          {"use_regex", use_regex}};
}

json PreTokenizer(const PreTokenizerRow& row) {
  if (row.words.empty() && !row.single_digits) return ByteLevel(true);
  json steps = json::array();
  if (row.single_digits) steps.push_back({{"type", "Digits"}, {"individual_digits", true}});
  if (!row.words.empty()) {
    steps.push_back({{"type", "Split"},
                     {"pattern", {{"Regex", row.words}}},
                     {"behavior", "Isolated"},
                     {"invert", false}});
  }
  steps.push_back(ByteLevel(row.words.empty()));
  return {{"type", "Sequence"}, {"pretokenizers", std::move(steps)}};
}

json Replace(std::string_view from, std::string_view to) {
  return {{"type", "Replace"}, {"pattern", {{"String", from}}}, {"content", to}};
}

class Reader {
 public:
  explicit Reader(const io::GgufMetadata& metadata) : metadata_(metadata) {}

  Result<TokenizerFiles> Read() {
    AWQ_ASSIGN(const std::string_view model, metadata_.RequireString("tokenizer.ggml.model"));
    AWQ_TRY(ReadTokens());
    if (model == "gpt2") {
      AWQ_TRY(ReadByteLevel());
    } else if (model == "llama") {
      AWQ_TRY(ReadSentencePiece());
    } else {
      return MakeError(ErrorCode::kUnsupported,
                       "{}: the tokenizer \"{}\" is not supported (gpt2 and llama are)",
                       metadata_.file, model);
    }
    AWQ_TRY(AddTokens());
    AWQ_TRY(AddTemplate());
    return TokenizerFiles{.tokenizer = tokenizer_.dump(), .config = config_.dump(1)};
  }

 private:
  std::size_t size() const { return tokens_.size(); }

  Status ReadTokens() {
    AWQ_ASSIGN(tokens_, metadata_.Strings("tokenizer.ggml.tokens"));
    if (tokens_.empty() || size() > static_cast<std::size_t>(kMaxTokenId)) {
      return metadata_.Wrong("tokenizer.ggml.tokens", fmt::format("1 to {} tokens", kMaxTokenId));
    }
    std::size_t bytes = 0;
    for (std::size_t id = 0; id < size(); ++id) {
      bytes += tokens_[id].size();
      if (tokens_[id].size() > kMaxTokenBytes || !IsValidUtf8(tokens_[id])) {
        return MakeError(ErrorCode::kCorrupt,
                         "{}: tokenizer.ggml.tokens: token {} is no UTF-8 text of at most {} bytes",
                         metadata_.file, id, kMaxTokenBytes);
      }
      const auto [first, is_new] = ids_.emplace(tokens_[id], id);
      if (!is_new) {
        return MakeError(ErrorCode::kCorrupt,
                         "{}: tokenizer.ggml.tokens: the tokens {} and {} are both \"{}\"",
                         metadata_.file, first->second, id, tokens_[id]);
      }
    }
    if (bytes > kMaxVocabularyBytes) {
      return metadata_.Wrong("tokenizer.ggml.tokens",
                             fmt::format("at most {} bytes of text", kMaxVocabularyBytes));
    }
    AWQ_ASSIGN(const std::vector<double> types, metadata_.Numbers("tokenizer.ggml.token_type"));
    types_.assign(size(), GgufTokenType::kNormal);
    if (!types.empty() && types.size() != size()) {
      return metadata_.Wrong("tokenizer.ggml.token_type", fmt::format("{} numbers", size()));
    }
    for (std::size_t id = 0; id < types.size(); ++id) {
      if (types[id] >= 0 && types[id] <= 6) {
        types_[id] = static_cast<GgufTokenType>(static_cast<int>(types[id]));
      }
    }
    return {};
  }

  // A token named by its id, or nothing.
  Result<std::optional<std::size_t>> NamedToken(std::string_view name) const {
    const std::string key = fmt::format("tokenizer.ggml.{}_token_id", name);
    AWQ_ASSIGN(const auto id, metadata_.Size(key));
    if (id && *id >= size()) return metadata_.Wrong(key, fmt::format("an id below {}", size()));
    return id;
  }

  Status ReadByteLevel() {
    AWQ_ASSIGN(const auto pre, metadata_.String("tokenizer.ggml.pre"));
    const auto row = std::find_if(
        kPreTokenizers.begin(), kPreTokenizers.end(),
        [&](const PreTokenizerRow& each) { return each.name == pre.value_or("default"); });
    if (row == kPreTokenizers.end()) {
      std::string known;
      for (const PreTokenizerRow& each : kPreTokenizers) {
        known += known.empty() ? "" : ", ";
        known += each.name;
      }
      return MakeError(ErrorCode::kUnsupported,
                       "{}: tokenizer.ggml.pre \"{}\" is not supported ({} are)", metadata_.file,
                       pre.value_or("default"), known);
    }
    AWQ_ASSIGN(const auto merges, metadata_.Strings("tokenizer.ggml.merges"));
    json list = json::array();
    for (const std::string_view merge : merges) {
      if (merge.size() > 2 * kMaxTokenBytes + 1 || !IsValidUtf8(merge)) {
        return metadata_.Wrong("tokenizer.ggml.merges", "an array of pairs of tokens");
      }
      list.push_back(merge);
    }
    model_ = {{"type", "BPE"}, {"merges", std::move(list)}, {"ignore_merges", row->ignore_merges}};
    if (row->nfc) tokenizer_["normalizer"] = {{"type", "NFC"}};
    tokenizer_["pre_tokenizer"] = PreTokenizer(*row);
    tokenizer_["decoder"] = ByteLevel(true);
    adds_bos_ = row->adds_bos;
    return {};
  }

  Status ReadSentencePiece() {
    AWQ_ASSIGN(const std::vector<double> scores, metadata_.Numbers("tokenizer.ggml.scores"));
    if (scores.size() != size()) {
      return metadata_.Wrong("tokenizer.ggml.scores", fmt::format("{} numbers", size()));
    }
    AWQ_ASSIGN(const auto unknown, NamedToken("unknown"));
    const std::size_t unknown_id = unknown.value_or(0);
    AWQ_ASSIGN(json merges, Merges(scores));
    model_ = {{"type", "BPE"},
              {"unk_token", tokens_[unknown_id]},
              {"fuse_unk", true},
              {"byte_fallback", true},
              {"merges", std::move(merges)}};
    config_["unk_token"] = tokens_[unknown_id];
    AWQ_ASSIGN(const auto prefix, metadata_.Bool("tokenizer.ggml.add_space_prefix"));
    json normalizers = json::array();
    json decoders = {Replace(kMetaspace, " "), {{"type", "ByteFallback"}}, {{"type", "Fuse"}}};
    if (prefix.value_or(true)) {
      normalizers.push_back({{"type", "Prepend"}, {"prepend", kMetaspace}});
      decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
    }
    normalizers.push_back(Replace(" ", kMetaspace));
    tokenizer_["normalizer"] = {{"type", "Sequence"}, {"normalizers", std::move(normalizers)}};
    tokenizer_["decoder"] = {{"type", "Sequence"}, {"decoders", std::move(decoders)}};
    adds_bos_ = true;
    return {};
  }

  // Every way to make a token of two, best score first: SentencePiece joins the pair whose token
  // has the best score.
  Result<json> Merges(const std::vector<double>& scores) const {
    struct Merge {
      double score;
      std::size_t token;
      std::size_t left_bytes;
    };
    std::vector<Merge> merges;
    std::size_t bytes = 0;
    const std::size_t most = std::min(kMaxMerges, size() * kMaxMergesAToken + kMoreMerges);
    for (std::size_t id = 0; id < size(); ++id) {
      const std::string_view text = tokens_[id];
      const bool is_made =
          types_[id] == GgufTokenType::kNormal || types_[id] == GgufTokenType::kUserDefined;
      if (!is_made || text.size() > kMaxPieceBytes) continue;
      for (std::size_t cut = 1; cut < text.size(); ++cut) {
        if (ids_.contains(text.substr(0, cut)) && ids_.contains(text.substr(cut))) {
          merges.push_back({scores[id], id, cut});
          bytes += text.size();
        }
      }
      if (merges.size() > most || bytes > kMaxMergeBytes) {
        return MakeError(ErrorCode::kUnsupported,
                         "{}: tokenizer.ggml.tokens: the first {} of {} tokens can be joined from "
                         "two others in {} ways, {} bytes; at most {} and {} are supported",
                         metadata_.file, id + 1, size(), merges.size(), bytes, most,
                         kMaxMergeBytes);
      }
    }
    std::stable_sort(merges.begin(), merges.end(),
                     [](const Merge& a, const Merge& b) { return a.score > b.score; });
    json list = json::array();
    for (const Merge& merge : merges) {
      const std::string_view text = tokens_[merge.token];
      list.push_back({text.substr(0, merge.left_bytes), text.substr(merge.left_bytes)});
    }
    return list;
  }

  Status AddTokens() {
    json vocabulary = json::object();
    json added = json::array();
    for (std::size_t id = 0; id < size(); ++id) {
      const GgufTokenType type = types_[id];
      if (type == GgufTokenType::kUnused) continue;
      vocabulary[std::string(tokens_[id])] = id;
      const bool special = type == GgufTokenType::kControl || type == GgufTokenType::kUnknown;
      if (!special && type != GgufTokenType::kUserDefined) continue;
      added.push_back({{"id", id},
                       {"content", tokens_[id]},
                       {"single_word", false},
                       {"lstrip", false},
                       {"rstrip", false},
                       {"normalized", false},
                       {"special", special}});
    }
    model_["vocab"] = std::move(vocabulary);
    tokenizer_["model"] = std::move(model_);
    tokenizer_["added_tokens"] = std::move(added);
    tokenizer_["version"] = "1.0";
    return {};
  }

  Status AddTemplate() {
    AWQ_ASSIGN(const auto bos, NamedToken("bos"));
    AWQ_ASSIGN(const auto eos, NamedToken("eos"));
    AWQ_ASSIGN(const auto stated_bos, metadata_.Bool("tokenizer.ggml.add_bos_token"));
    AWQ_ASSIGN(const auto add_eos, metadata_.Bool("tokenizer.ggml.add_eos_token"));
    const bool add_bos = stated_bos.value_or(adds_bos_);
    config_["tokenizer_class"] = "PreTrainedTokenizerFast";
    config_["clean_up_tokenization_spaces"] = false;
    config_["add_bos_token"] = add_bos;
    if (bos) config_["bos_token"] = tokens_[*bos];
    if (eos) config_["eos_token"] = tokens_[*eos];
    AWQ_ASSIGN(const auto chat, metadata_.String("tokenizer.chat_template"));
    if (chat) config_["chat_template"] = ReplaceInvalidUtf8(*chat);
    json single = json::array();
    json special = json::object();
    const auto put = [&](std::size_t id) {
      const std::string token(tokens_[id]);
      single.push_back({{"SpecialToken", {{"id", token}, {"type_id", 0}}}});
      special[token] = {{"id", token}, {"ids", {id}}, {"tokens", {token}}};
    };
    if (bos && add_bos) put(*bos);
    single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
    if (eos && add_eos.value_or(false)) put(*eos);
    if (special.empty()) return {};
    json pair = single;
    pair.push_back({{"Sequence", {{"id", "B"}, {"type_id", 1}}}});
    tokenizer_["post_processor"] = {{"type", "TemplateProcessing"},
                                    {"single", std::move(single)},
                                    {"pair", std::move(pair)},
                                    {"special_tokens", std::move(special)}};
    return {};
  }

  const io::GgufMetadata& metadata_;
  std::vector<std::string_view> tokens_;
  std::vector<GgufTokenType> types_;
  std::unordered_map<std::string_view, std::size_t> ids_;
  bool adds_bos_ = false;
  json model_ = json::object();
  json tokenizer_ = json::object();
  json config_ = json::object();
};

}  // namespace

Result<TokenizerFiles> TokenizerFromGguf(const io::GgufMetadata& metadata) {
  return Reader(metadata).Read();
}

}  // namespace awq::text
