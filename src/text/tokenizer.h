// Tokenizers as Hugging Face's tokenizer.json describes them: byte-level and SentencePiece-style
// BPE. The ids and the decoded text are those of the `tokenizers` package (0.23). Truncation and
// padding of the file are ignored; what is not BPE is refused by name.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace awq::text {

// Immutable; every const member may be called from many threads at once.
class Tokenizer {
 public:
  // `path`/tokenizer.json (required) and tokenizer_config.json (optional); or what the metadata of
  // a GGUF file says, where `path` is one or a directory that holds one.
  static Result<std::shared_ptr<const Tokenizer>> Load(const std::filesystem::path& path);

  // `tokenizer_config_json` may be empty; `name` stands in error messages. A malformed file is
  // kCorrupt, a component that is not implemented kUnsupported; both name the field.
  static Result<std::shared_ptr<const Tokenizer>> FromJson(std::string_view tokenizer_json,
                                                           std::string_view tokenizer_config_json,
                                                           const std::string& name);
  ~Tokenizer();
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

  // Ill-formed UTF-8 is read as U+FFFD, as Python's errors="replace" does. Added tokens are found
  // in the text either way; `add_special_tokens` puts those of the post-processor around it.
  // Fails on texts of 2 GiB and more, where a pattern of the file costs too much (kUnsupported),
  // and where the file's own unk_token is not in its vocabulary (kCorrupt).
  Result<std::vector<std::int32_t>> Encode(std::string_view utf8, bool add_special_tokens) const;

  // Valid UTF-8. Ids without a token are left out, as the package does.
  std::string Decode(std::span<const std::int32_t> ids, bool skip_special_tokens) const;

  // Tokens, added ones included. Ids may be larger: see max_id.
  std::size_t vocab_size() const;
  std::int32_t max_id() const;
  std::optional<std::int32_t> TokenToId(std::string_view token) const;
  // The token's string as the vocabulary holds it.
  std::optional<std::string> IdToToken(std::int32_t id) const;
  bool IsSpecial(std::int32_t id) const;

  // Named by tokenizer_config.json; else BOS is what the post-processor puts first. Empty where
  // neither says or the vocabulary lacks it.
  std::optional<std::int32_t> bos_id() const;
  std::optional<std::int32_t> eos_id() const;
  // What the post-processor puts before a text.
  std::span<const std::int32_t> prefix_ids() const;
  // What tokenizer_config.json says of itself; the package does not heed it, Encode neither.
  std::optional<bool> add_bos_token() const;

 private:
  friend class StreamingDecoder;
  friend class TokenizerBuilder;
  struct Parts;
  explicit Tokenizer(std::unique_ptr<const Parts> parts);
  std::unique_ptr<const Parts> parts_;
};

// Decodes ids as they come. What Feed and Flush return is whole UTF-8 characters, never to be
// taken back; all of it together is Decode of all ids. Text is held back only while a later id
// could change it.
class StreamingDecoder {
 public:
  StreamingDecoder(std::shared_ptr<const Tokenizer> tokenizer, bool skip_special_tokens);
  ~StreamingDecoder();
  StreamingDecoder(StreamingDecoder&&) noexcept;
  StreamingDecoder& operator=(StreamingDecoder&&) noexcept;

  std::string Feed(std::int32_t id);
  // The end of the text; the decoder then begins a new one.
  std::string Flush();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace awq::text
