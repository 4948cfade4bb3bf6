#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/error.h"
#include "io/json.h"
#include "text/gguf_pre_tokenizers.h"
#include "text/gguf_token_type.h"
#include "text/gguf_tokenizer.h"
#include "text/tokenizer.h"

namespace awq::text {
namespace {

using nlohmann::json;

constexpr std::string_view kMetaspace = "\xE2\x96\x81";

// The member, or null.
const json& At(const json& object, const char* key) {
  static const json kNull;
  if (!object.is_object()) return kNull;
  const auto found = object.find(key);
  return found == object.end() ? kNull : *found;
}

std::string Text(const json& value) { return value.is_string() ? value.get<std::string>() : ""; }

// A sequence's steps; one step, or none, where it is no sequence.
std::vector<json> Steps(const json& component, const char* list) {
  if (component.is_null()) return {};
  if (At(component, "type") != "Sequence") return {component};
  const json& steps = At(component, list);
  return steps.is_array() ? steps.get<std::vector<json>>() : std::vector<json>{component};
}

class Writer {
 public:
  Writer(const json& tokenizer, const json& config, const std::string& chat_template,
         const Tokenizer& loaded, std::size_t vocab_size, const std::string& name,
         io::GgufBuilder& builder)
      : tokenizer_(tokenizer),
        config_(config),
        chat_template_(chat_template),
        loaded_(loaded),
        vocab_size_(vocab_size),
        name_(name),
        builder_(builder) {}

  Status Write() {
    AWQ_TRY(ReadTokens());
    const bool is_pieces = At(At(tokenizer_, "model"), "byte_fallback") == true;
    if (is_pieces) {
      AWQ_TRY(WritePieces());
    } else {
      AWQ_TRY(WriteByteLevel());
    }
    std::vector<std::int32_t> types;
    for (const GgufTokenType type : types_) types.push_back(static_cast<std::int32_t>(type));
    builder_.AddStrings("tokenizer.ggml.tokens", tokens_);
    builder_.AddI32s("tokenizer.ggml.token_type", types);
    WriteNamed();
    return {};
  }

 private:
  Error Unsupported(std::string_view what) const {
    return MakeError(ErrorCode::kUnsupported, "{}: GGUF cannot hold this tokenizer: {}", name_,
                     what);
  }

  Status ReadTokens() {
    if (loaded_.max_id() >= 0 && static_cast<std::size_t>(loaded_.max_id()) >= vocab_size_) {
      return Unsupported(fmt::format("it has ids up to {}, the model only {} tokens",
                                     loaded_.max_id(), vocab_size_));
    }
    for (std::size_t id = 0; id < vocab_size_; ++id) {
      const auto token = loaded_.IdToToken(static_cast<std::int32_t>(id));
      tokens_.push_back(token.value_or(fmt::format("[PAD{}]", id)));
      types_.push_back(token ? GgufTokenType::kNormal : GgufTokenType::kUnused);
    }
    for (const json& added : At(tokenizer_, "added_tokens")) {
      const std::string content = Text(At(added, "content"));
      const auto id = loaded_.TokenToId(content);
      if (!id) continue;
      const auto index = static_cast<std::size_t>(*id);
      tokens_[index] = content;
      types_[index] =
          At(added, "special") == true ? GgufTokenType::kControl : GgufTokenType::kUserDefined;
    }
    return {};
  }

  // The row of kPreTokenizers that says what these components say.
  Result<const PreTokenizerRow*> FindRow() const {
    PreTokenizerRow wanted{};
    std::string words;
    bool is_known = false;
    for (const json& step : Steps(At(tokenizer_, "pre_tokenizer"), "pretokenizers")) {
      const std::string type = Text(At(step, "type"));
      if (type == "Digits" && At(step, "individual_digits") == true) {
        wanted.single_digits = true;
      } else if (type == "Split" && At(step, "behavior") == "Isolated" &&
                 At(step, "invert") != true) {
        words = Text(At(At(step, "pattern"), "Regex"));
      } else if (type == "ByteLevel" && At(step, "add_prefix_space") != true) {
        is_known = words.empty() == (At(step, "use_regex") != false);
      } else {
        return Unsupported(fmt::format("the pre_tokenizer {}", type));
      }
    }
    const json& normalizer = At(tokenizer_, "normalizer");
    const bool nfc = At(normalizer, "type") == "NFC";
    const bool ignore_merges = At(At(tokenizer_, "model"), "ignore_merges") == true;
    for (const PreTokenizerRow& row : kPreTokenizers) {
      if (is_known && row.words == words && row.single_digits == wanted.single_digits &&
          row.ignore_merges == ignore_merges && (normalizer.is_null() || (nfc && row.nfc))) {
        return &row;
      }
    }
    return Unsupported("no `pre` of llama.cpp that we know cuts words and normalizes as it does");
  }

  Status WriteByteLevel() {
    AWQ_ASSIGN(const PreTokenizerRow* row, FindRow());
    std::vector<std::string> merges;
    for (const json& merge : At(At(tokenizer_, "model"), "merges")) {
      merges.push_back(merge.is_array() ? Text(merge[0]) + " " + Text(merge[1]) : Text(merge));
    }
    builder_.AddString("tokenizer.ggml.model", "gpt2");
    builder_.AddString("tokenizer.ggml.pre", row->name);
    builder_.AddStrings("tokenizer.ggml.merges", merges);
    return {};
  }

  Status WritePieces() {
    bool prefix = false;
    for (const json& step : Steps(At(tokenizer_, "normalizer"), "normalizers")) {
      if (At(step, "type") == "Prepend" && At(step, "prepend") == kMetaspace) {
        prefix = true;
      } else if (At(step, "type") != "Replace" || At(step, "content") != kMetaspace ||
                 At(At(step, "pattern"), "String") != " ") {
        return Unsupported(fmt::format("the normalizer {}", Text(At(step, "type"))));
      }
    }
    if (!At(tokenizer_, "pre_tokenizer").is_null()) {
      return Unsupported("a pre_tokenizer beside byte_fallback");
    }
    for (int byte = 0; byte < 256; ++byte) {
      if (const auto id = loaded_.TokenToId(fmt::format("<0x{:02X}>", byte))) {
        types_[static_cast<std::size_t>(*id)] = GgufTokenType::kByte;
      }
    }
    if (const auto unknown = Id(Text(At(At(tokenizer_, "model"), "unk_token")))) {
      types_[*unknown] = GgufTokenType::kUnknown;
      builder_.AddU32("tokenizer.ggml.unknown_token_id", static_cast<std::uint32_t>(*unknown));
    }
    AWQ_ASSIGN(const std::vector<float> scores, Scores());
    builder_.AddString("tokenizer.ggml.model", "llama");
    builder_.AddString("tokenizer.ggml.pre", "default");
    builder_.AddBool("tokenizer.ggml.add_space_prefix", prefix);
    builder_.AddF32s("tokenizer.ggml.scores", scores);
    return {};
  }

  // Scores in whose order SentencePiece joins as the merges do: it takes any pair that is a token,
  // so all of them must be merges, and those of one token must stand together; tokens whose merges
  // are mixed have equal scores.
  Result<std::vector<float>> Scores() const {
    std::unordered_map<std::string, std::pair<std::size_t, std::size_t>> ranks;  // first and last
    std::unordered_map<std::string, std::size_t> counts;
    std::size_t rank = 0;
    for (const json& merge : At(At(tokenizer_, "model"), "merges")) {
      std::string joined;
      if (merge.is_array()) {
        joined = Text(merge[0]) + Text(merge[1]);
      } else {
        joined = Text(merge);
        joined.erase(std::min(joined.find(' '), joined.size()), 1);
      }
      const auto place = ranks.emplace(joined, std::pair(rank, rank)).first;
      place->second.second = rank++;
      ++counts[joined];
    }
    std::vector<float> scores(vocab_size_, 0);
    std::map<std::size_t, std::pair<std::size_t, std::size_t>> spans;  // first rank -> last, id
    for (std::size_t id = 0; id < vocab_size_; ++id) {
      if (types_[id] != GgufTokenType::kNormal) continue;
      const std::size_t cuts = WaysToCut(tokens_[id]);
      const auto found = ranks.find(tokens_[id]);
      if (cuts != (found == ranks.end() ? 0 : counts.at(tokens_[id]))) {
        return Unsupported(
            fmt::format("\"{}\" can be joined from two tokens in {} ways, of which "
                        "its merges name {}; SentencePiece would use all",
                        tokens_[id], cuts, found == ranks.end() ? 0 : counts.at(tokens_[id])));
      }
      if (found != ranks.end()) spans[found->second.first] = {found->second.second, id};
    }
    std::size_t begin = 0;
    std::size_t end = 0;
    for (const auto& [first, span] : spans) {
      if (first > end || first == 0) begin = first;
      end = std::max(end, span.first);
      scores[span.second] = -static_cast<float>(begin);
    }
    return scores;
  }

  std::size_t WaysToCut(const std::string& token) const {
    std::size_t ways = 0;
    for (std::size_t cut = 1; cut < token.size(); ++cut) {
      ways += Id(token.substr(0, cut)).has_value() && Id(token.substr(cut)).has_value();
    }
    return ways;
  }

  std::optional<std::size_t> Id(const std::string& token) const {
    const auto id = loaded_.TokenToId(token);
    return id ? std::optional(static_cast<std::size_t>(*id)) : std::nullopt;
  }

  void WriteNamed() {
    const auto put = [&](const char* key, std::optional<std::int32_t> id) {
      if (id) builder_.AddU32(key, static_cast<std::uint32_t>(*id));
    };
    put("tokenizer.ggml.bos_token_id", loaded_.bos_id());
    put("tokenizer.ggml.eos_token_id", loaded_.eos_id());
    const json& pad = At(config_, "pad_token");
    put("tokenizer.ggml.padding_token_id",
        loaded_.TokenToId(Text(pad.is_object() ? At(pad, "content") : pad)));
    builder_.AddBool("tokenizer.ggml.add_bos_token", !loaded_.prefix_ids().empty());
    std::string chat = chat_template_;
    if (chat.empty()) chat = Text(At(config_, "chat_template"));
    if (!chat.empty()) builder_.AddString("tokenizer.chat_template", chat);
  }

  const json& tokenizer_;
  const json& config_;
  const std::string& chat_template_;
  const Tokenizer& loaded_;
  std::size_t vocab_size_;
  const std::string& name_;
  io::GgufBuilder& builder_;
  std::vector<std::string> tokens_;
  std::vector<GgufTokenType> types_;
};

}  // namespace

Status AddTokenizerToGguf(const TokenizerFiles& files, std::size_t vocab_size,
                          const std::string& name, io::GgufBuilder& builder) {
  // What loads is sound: every member below has the type that it must have.
  AWQ_ASSIGN(const auto loaded, Tokenizer::FromJson(files.tokenizer, files.config, name));
  AWQ_ASSIGN(const json tokenizer, io::ParseJson(files.tokenizer, name));
  json config;
  if (!files.config.empty()) {
    AWQ_ASSIGN(config, io::ParseJson(files.config, name + " (tokenizer_config.json)"));
  }
  return Writer(tokenizer, config, files.chat_template, *loaded, vocab_size, name, builder).Write();
}

}  // namespace awq::text
