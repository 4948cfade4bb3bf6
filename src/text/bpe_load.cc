// Reading a BPE model from its file, and the facts about it that encoding relies on.
#include <random>
#include <utility>

#include "base/error.h"
#include "text/bpe.h"
#include "text/byte_alphabet.h"
#include "text/utf8.h"

namespace awq::text {
namespace {

constexpr std::string_view kMetaspace = "\xE2\x96\x81";

Result<BpeConfig> ConfigFromJson(const JsonNode& node) {
  BpeConfig config;
  // Old files have no type; what they hold is told by vocab and merges.
  AWQ_ASSIGN(const std::string type, node.StringOr("type", "BPE"));
  if (type != "BPE") {
    return MakeError(ErrorCode::kUnsupported,
                     "{}.type: \"{}\" models are not supported; supported is BPE", node.path(),
                     type);
  }
  if (const auto dropout = node.Find("dropout")) {
    if (!dropout->json().is_number() || dropout->json().get<double>() != 0.0) {
      return MakeError(ErrorCode::kUnsupported, "{}: expected null or 0, found {}", dropout->path(),
                       Shorten(dropout->json()));
    }
  }
  if (const auto unk = node.Find("unk_token")) {
    AWQ_ASSIGN(config.unk_token, unk->String());
  }
  AWQ_ASSIGN(config.continuing_subword_prefix, node.StringOr("continuing_subword_prefix", ""));
  AWQ_ASSIGN(config.end_of_word_suffix, node.StringOr("end_of_word_suffix", ""));
  AWQ_ASSIGN(config.fuse_unk, node.BoolOr("fuse_unk", false));
  AWQ_ASSIGN(config.byte_fallback, node.BoolOr("byte_fallback", false));
  AWQ_ASSIGN(config.ignore_merges, node.BoolOr("ignore_merges", false));
  return config;
}

using Pair = std::pair<std::string_view, std::string_view>;

// "a b" or ["a", "b"]; nothing where it is neither. Views into the tree.
std::optional<Pair> PairFromJson(const nlohmann::json& json) {
  const auto view = [](const nlohmann::json& text) {
    return std::string_view(text.get_ref<const std::string&>());
  };
  if (json.is_string()) {
    const std::string_view text = view(json);
    const std::size_t space = text.find(' ');
    if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) return {};
    return Pair(text.substr(0, space), text.substr(space + 1));
  }
  if (!json.is_array() || json.size() != 2 || !json[0].is_string() || !json[1].is_string()) {
    return {};
  }
  return Pair(view(json[0]), view(json[1]));
}

}  // namespace

Result<BpeModel> BpeModel::FromJson(const JsonNode& node) {
  if (!node.json().is_object()) return node.Wrong("an object");
  BpeModel model;
  AWQ_ASSIGN(model.config_, ConfigFromJson(node));
  AWQ_ASSIGN(const JsonNode vocab, node.Get("vocab"));
  AWQ_TRY(model.ReadVocabulary(vocab));
  if (model.config_.unk_token) model.unk_id_ = model.TokenToId(*model.config_.unk_token);
  model.cuts_at_metaspace_ =
      model.TokenToId(kMetaspace).has_value() && model.config_.end_of_word_suffix.empty() &&
      model.config_.continuing_subword_prefix.empty() &&
      model.config_.unk_token.value_or("").find(kMetaspace) == std::string::npos;
  AWQ_ASSIGN(const JsonNode merges, node.Get("merges"));
  AWQ_TRY(model.ReadMerges(merges));
  model.IndexBytes();
  return model;
}

Status BpeModel::ReadVocabulary(const JsonNode& node) {
  if (!node.json().is_object()) return node.Wrong("an object");
  const auto field = [&](const std::string& token, const nlohmann::json& id) {
    return JsonNode(id, fmt::format("{}[{}]", node.path(), Shorten(token)));
  };
  for (const auto& [token, id] : node.json().items()) {
    if (!id.is_number_integer() || id > kMaxTokenId || id < 0) {
      return field(token, id).Wrong(fmt::format("an id from 0 to {}", kMaxTokenId));
    }
    const auto index = id.get<std::size_t>();
    if (index >= tokens_.size()) tokens_.resize(index + 1);
    if (tokens_[index]) {
      return field(token, id).Wrong(
          fmt::format("an id of its own; {} has the same", Shorten(*tokens_[index])));
    }
    tokens_[index] = token;
  }
  vocab_.reserve(node.json().size());
  for (std::size_t id = 0; id < tokens_.size(); ++id) {
    if (tokens_[id]) vocab_.emplace(*tokens_[id], static_cast<std::int32_t>(id));
  }
  return {};
}

Status BpeModel::ReadMerges(const JsonNode& node) {
  if (!node.json().is_array()) return node.Wrong("an array");
  std::random_device random;
  merges_.Reserve(node.json().size(), std::uint64_t{random()} << 32 | random());
  for (std::size_t i = 0; i < node.json().size(); ++i) {
    const nlohmann::json& merge = node.json()[i];
    // The header line of merges.txt, which some converters copied.
    if (merge.is_string() && merge.get_ref<const std::string&>().starts_with("#version")) continue;
    const std::string wrong = AddMerge(merge);
    if (!wrong.empty()) {
      return JsonNode(merge, fmt::format("{}[{}]", node.path(), i)).Wrong(wrong);
    }
  }
  return {};
}

std::string BpeModel::AddMerge(const nlohmann::json& merge) {
  const auto pair = PairFromJson(merge);
  if (!pair) return R"("left right" or ["left", "right"])";
  const auto& [left, right] = *pair;
  const std::size_t prefix = config_.continuing_subword_prefix.size();
  if (right.size() < prefix) return "a right side that has the continuing prefix";
  const std::string both = std::string(left).append(right.substr(prefix));
  std::array<std::int32_t, 3> ids{};
  const std::array<std::string_view, 3> tokens = {left, right, both};
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const auto id = TokenToId(tokens[i]);
    if (!id) return fmt::format("tokens of the vocabulary; \"{}\" is not in it", tokens[i]);
    ids[i] = *id;
  }
  merges_.Set(ids[0], ids[1], static_cast<std::uint32_t>(merge_rank_++), ids[2]);
  if (right.starts_with(kMetaspace) && !left.ends_with(kMetaspace)) cuts_at_metaspace_ = false;
  return {};
}

void BpeModel::IndexBytes() {
  bool complete = config_.continuing_subword_prefix.empty() && config_.end_of_word_suffix.empty();
  for (std::size_t byte = 0; byte < 256; ++byte) {
    std::string letter;
    AppendUtf8(ByteLetter(static_cast<unsigned char>(byte)), letter);
    byte_letter_ids_[byte] = TokenToId(letter).value_or(-1);
    byte_fallback_ids_[byte] = TokenToId(fmt::format("<0x{:02X}>", byte)).value_or(-1);
    const bool in_utf8 = byte < 0xC0 || (byte > 0xC1 && byte < 0xF5);
    if (in_utf8 && byte_letter_ids_[byte] < 0) complete = false;
  }
  has_byte_alphabet_ = complete;
  if (!complete || !config_.ignore_merges) return;
  byte_words_.reserve(tokens_.size());  // so that the views into it stay
  for (std::size_t id = 0; id < tokens_.size(); ++id) {
    if (!tokens_[id]) continue;
    auto bytes = BytesOfLetters(*tokens_[id]);
    if (!bytes) continue;
    byte_words_.push_back(*std::move(bytes));
    byte_vocab_.emplace(byte_words_.back(), static_cast<std::int32_t>(id));
  }
}

}  // namespace awq::text
