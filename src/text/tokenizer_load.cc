#include <map>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "base/error.h"
#include "io/file.h"
#include "io/gguf.h"
#include "io/json.h"
#include "text/gguf_tokenizer.h"
#include "text/tokenizer_parts.h"

namespace awq::text {
namespace {

constexpr std::size_t kMaxFileBytes = std::size_t{128} << 20;
constexpr std::size_t kMaxAddedTokens = 1 << 20;

struct ConfigTokens {
  std::optional<std::string> bos;
  std::optional<std::string> eos;
  std::optional<bool> add_bos;
};

// A token in tokenizer_config.json: its string, or an object with its "content".
Result<std::optional<std::string>> ConfigToken(const JsonNode& config, std::string_view key) {
  const auto field = config.Find(key);
  if (!field) return std::optional<std::string>();
  if (field->json().is_object()) {
    AWQ_ASSIGN(const JsonNode content, field->Get("content"));
    AWQ_ASSIGN(std::string text, content.String());
    return std::optional(std::move(text));
  }
  AWQ_ASSIGN(std::string text, field->String());
  return std::optional(std::move(text));
}

Result<ConfigTokens> ReadConfig(std::string_view json, const std::string& name) {
  ConfigTokens tokens;
  if (json.empty()) return tokens;
  AWQ_ASSIGN(const nlohmann::json root, io::ParseJson(json, name));
  const JsonNode config = JsonNode::Root(root, name);
  if (!root.is_object()) return config.Wrong("an object");
  AWQ_ASSIGN(tokens.bos, ConfigToken(config, "bos_token"));
  AWQ_ASSIGN(tokens.eos, ConfigToken(config, "eos_token"));
  if (const auto add_bos = config.Find("add_bos_token")) {
    AWQ_ASSIGN(tokens.add_bos, add_bos->Bool());
  }
  return tokens;
}

}  // namespace

// Reads the parts in the order in which they need each other.
class TokenizerBuilder {
 public:
  TokenizerBuilder(const JsonNode& root, std::unique_ptr<Tokenizer::Parts> parts)
      : root_(root), parts_(std::move(parts)) {}

  static Result<std::unique_ptr<Tokenizer::Parts>> Build(const JsonNode& root,
                                                         const ConfigTokens& config) {
    AWQ_ASSIGN(const JsonNode model, root.Get("model"));
    AWQ_ASSIGN(BpeModel bpe, BpeModel::FromJson(model));
    TokenizerBuilder builder(root, std::make_unique<Tokenizer::Parts>(std::move(bpe)));
    AWQ_TRY(builder.ReadComponents());
    AWQ_TRY(builder.ReadAddedTokens());
    AWQ_TRY(builder.ReadPostProcessor());
    builder.SettleNamedTokens(config);
    return std::move(builder.parts_);
  }

 private:
  Status ReadComponents() {
    if (const auto node = root_.Find("normalizer")) {
      AWQ_ASSIGN(parts_->normalizer, NormalizerChain::FromJson(*node));
    }
    if (const auto node = root_.Find("pre_tokenizer")) {
      AWQ_ASSIGN(parts_->pre_tokenizer,
                 PreTokenizerChain::FromJson(*node, parts_->model.has_byte_alphabet()));
    }
    const auto decoder = root_.Find("decoder");
    AWQ_ASSIGN(parts_->decoder, DecoderChain::FromJson(decoder ? &*decoder : nullptr));
    return {};
  }

  Status ReadAddedTokens() {
    const auto& model_tokens = parts_->model.tokens();
    for (std::size_t id = 0; id < model_tokens.size(); ++id) {
      if (model_tokens[id]) SetToken(static_cast<std::int32_t>(id), *model_tokens[id]);
    }
    next_id_ = static_cast<std::int32_t>(parts_->model.vocab_size());
    if (const auto node = root_.Find("added_tokens")) {
      if (!node->json().is_array()) return node->Wrong("an array");
      if (node->json().size() > kMaxAddedTokens) return node->Wrong("at most 2^20 tokens");
      AWQ_ASSIGN(const auto nodes, node->Array());
      for (const JsonNode& entry : nodes) AWQ_TRY(ReadAddedToken(entry));
    }
    AWQ_TRY(IndexAddedTokens());
    for (auto& token : parts_->tokens) {
      parts_->vocab_size += token.exists ? 1 : 0;
      token.special = token.exists && special_.count(token.text) > 0;
    }
    return {};
  }

  // As the package does: a token that the model has keeps the model's id, a new one gets the next
  // free id; the file's "id" only says what was so when it was written.
  Status ReadAddedToken(const JsonNode& node) {
    AWQ_ASSIGN(AddedToken token, AddedTokenFromJson(node));
    if (token.content.empty()) return {};
    const auto [declared, is_new_id] = declared_.emplace(token.id, token.content);
    if (!is_new_id && declared->second != token.content) {
      return node.Find("id")->Wrong(
          fmt::format("an id of its own; {} has the same", Shorten(declared->second)));
    }
    auto id = parts_->model.TokenToId(token.content);
    const auto known = parts_->added_ids.find(token.content);
    if (known != parts_->added_ids.end()) id = known->second;
    if (!id) {
      id = next_id_++;
      if (*id > kMaxTokenId || Exists(*id)) {
        return node.Wrong(
            fmt::format("a vocabulary without holes; the next free id would be {}, "
                        "which is taken or too large",
                        *id));
      }
    }
    token.id = *id;
    parts_->added_ids[token.content] = *id;
    if (token.special) special_.insert(token.content);
    SetToken(*id, token.content);
    added_[*id] = std::move(token);
    return {};
  }

  Status IndexAddedTokens() {
    RegexScratch scratch;
    for (const auto& [id, token] : added_) {
      if (!token.normalized) {
        parts_->raw_tokens.Add(token.content, token);
        continue;
      }
      scratch.ResetBudget(token.content.size());
      NormalizedText text{token.content, 0};
      AWQ_TRY(parts_->normalizer.Apply(text, scratch));
      parts_->normalized_tokens.Add(text.text, token);
      // Decoding inverts what normalization did to the token, too.
      SetToken(id, text.text);
    }
    return {};
  }

  Status ReadPostProcessor() {
    const auto node = root_.Find("post_processor");
    if (!node) return {};
    AWQ_ASSIGN(parts_->post_processor,
               PostProcessor::FromJson(*node, [&](std::int32_t id) { return Exists(id); }));
    return {};
  }

  void SettleNamedTokens(const ConfigTokens& config) {
    const auto id_of = [&](const std::string& token) -> std::optional<std::int32_t> {
      const auto added = parts_->added_ids.find(token);
      if (added != parts_->added_ids.end()) return added->second;
      return parts_->model.TokenToId(token);
    };
    if (config.bos) {
      parts_->bos_id = id_of(*config.bos);
    } else if (!parts_->post_processor.prefix.empty()) {
      parts_->bos_id = parts_->post_processor.prefix.front();
    }
    if (config.eos) parts_->eos_id = id_of(*config.eos);
    parts_->add_bos_token = config.add_bos;
  }

  bool Exists(std::int32_t id) const {
    const auto index = static_cast<std::size_t>(id);
    return id >= 0 && index < parts_->tokens.size() && parts_->tokens[index].exists;
  }

  void SetToken(std::int32_t id, std::string text) {
    const auto index = static_cast<std::size_t>(id);
    if (index >= parts_->tokens.size()) parts_->tokens.resize(index + 1);
    parts_->tokens[index].text = std::move(text);
    parts_->tokens[index].exists = true;
  }

  const JsonNode& root_;
  std::unique_ptr<Tokenizer::Parts> parts_;
  std::map<std::int32_t, AddedToken> added_;
  std::unordered_set<std::string> special_;
  std::unordered_map<std::int32_t, std::string> declared_;
  std::int32_t next_id_ = 0;
};

Result<std::shared_ptr<const Tokenizer>> Tokenizer::FromJson(std::string_view tokenizer_json,
                                                             std::string_view tokenizer_config_json,
                                                             const std::string& name) {
  AWQ_ASSIGN(const nlohmann::json root, io::ParseJson(tokenizer_json, name));
  AWQ_ASSIGN(const ConfigTokens config,
             ReadConfig(tokenizer_config_json, name + " (tokenizer_config.json)"));
  AWQ_ASSIGN(std::unique_ptr<Parts> parts,
             TokenizerBuilder::Build(JsonNode::Root(root, name), config));
  return std::shared_ptr<const Tokenizer>(new Tokenizer(std::move(parts)));
}

Result<std::shared_ptr<const Tokenizer>> Tokenizer::Load(const std::filesystem::path& path) {
  AWQ_ASSIGN(const auto gguf, io::FindGguf(path));
  // A directory's own tokenizer.json says more than a file's metadata.
  std::error_code ignored;
  if (gguf && !std::filesystem::exists(path / "tokenizer.json", ignored)) {
    AWQ_ASSIGN(const io::GgufFile file, io::GgufFile::Open(*gguf));
    AWQ_ASSIGN(const TokenizerFiles files, TokenizerFromGguf(file.metadata()));
    return FromJson(files.tokenizer, files.config, gguf->string());
  }
  const std::filesystem::path file = path / "tokenizer.json";
  const std::filesystem::path config_file = path / "tokenizer_config.json";
  if (!std::filesystem::exists(file, ignored)) {
    return MakeError(
        ErrorCode::kNotFound,
        "{}: there is no such file, and other forms of a tokenizer (tokenizer.model) are "
        "not read: fetch it from where the model is from, or have transformers' "
        "AutoTokenizer save it",
        file.string());
  }
  AWQ_ASSIGN(const std::string json, io::ReadFile(file, kMaxFileBytes));
  std::string config;
  if (std::filesystem::exists(config_file, ignored)) {
    AWQ_ASSIGN(config, io::ReadFile(config_file, kMaxFileBytes));
  }
  return FromJson(json, config, file.string());
}

}  // namespace awq::text
