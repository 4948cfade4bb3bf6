// The "pre_tokenizer" of a tokenizer file: cuts a normalized text into the words that the model
// then encodes one by one.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/json_node.h"
#include "text/regex.h"

namespace awq::text {

struct Piece {
  std::string_view text;
  // How many leading bytes come from the first character of the caller's text; see NormalizedText.
  std::size_t first_bytes = 0;

  Piece Sub(std::size_t start, std::size_t end) const {
    const std::size_t first = first_bytes > start ? first_bytes - start : 0;
    return {text.substr(start, end - start), first < end - start ? first : end - start};
  }
};

class PieceSink {
 public:
  virtual ~PieceSink() = default;
  virtual Status Accept(const Piece& piece) = 0;
};

// One buffer for each stage that rewrites text, and what searching needs.
struct PreTokenizerScratch {
  RegexScratch regex;
  std::vector<std::string> buffers;
};

class PreTokenizerStage;

class PreTokenizerChain {
 public:
  PreTokenizerChain();
  ~PreTokenizerChain();
  PreTokenizerChain(PreTokenizerChain&&) noexcept;
  PreTokenizerChain& operator=(PreTokenizerChain&&) noexcept;

  // The component under "pre_tokenizer"; unknown types are kUnsupported, by name. With
  // `may_emit_bytes` a ByteLevel at the end passes on bytes instead of their letters.
  static Result<PreTokenizerChain> FromJson(const JsonNode& node, bool may_emit_bytes);

  // True where the pieces are bytes, perhaps parts of characters.
  bool emits_bytes() const { return emits_bytes_; }

  // Gives every piece to the sink, in order, without keeping them; none is empty.
  Status Run(const Piece& piece, PreTokenizerScratch& scratch, PieceSink& sink) const;

 private:
  friend class PieceEmitter;
  Status RunFrom(std::size_t stage, const Piece& piece, PreTokenizerScratch& scratch,
                 PieceSink& sink) const;

  std::vector<std::unique_ptr<const PreTokenizerStage>> stages_;
  bool emits_bytes_ = false;
};

// What a stage is given to pass its pieces on with.
class PieceEmitter {
 public:
  PieceEmitter(const PreTokenizerChain& chain, std::size_t stage, PreTokenizerScratch& scratch,
               PieceSink& sink)
      : chain_(chain), stage_(stage), scratch_(scratch), sink_(sink) {}

  Status operator()(const Piece& piece) const {
    return piece.text.empty() ? Status() : chain_.RunFrom(stage_ + 1, piece, scratch_, sink_);
  }
  RegexScratch& regex() const { return scratch_.regex; }
  std::string& buffer() const { return scratch_.buffers[stage_]; }  // this stage's own
  bool is_last() const { return stage_ + 1 == chain_.stages_.size(); }
  bool emits_bytes() const { return is_last() && chain_.emits_bytes_; }

 private:
  const PreTokenizerChain& chain_;
  std::size_t stage_;
  PreTokenizerScratch& scratch_;
  PieceSink& sink_;
};

class PreTokenizerStage {
 public:
  virtual ~PreTokenizerStage() = default;
  virtual Status Split(const Piece& piece, const PieceEmitter& emit) const = 0;
  virtual bool is_byte_level() const { return false; }
};

}  // namespace awq::text
