// The "decoder" of a tokenizer file: from the strings of tokens to text. Everything streams: a
// whole text is decoded by the same steps as one token after another.
#pragma once

#include <awq/result.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/json_node.h"

namespace awq::text {

// Takes tokens in order, each in one or more fragments of whole characters.
class TokenSink {
 public:
  virtual ~TokenSink() = default;
  virtual void Write(std::string_view fragment, bool ends_token) = 0;
  virtual void Finish() = 0;  // after the last token; called once
};

class DecoderStage {
 public:
  virtual ~DecoderStage() = default;
  // A stream that passes what it makes on to `next`, which must outlive it.
  virtual std::unique_ptr<TokenSink> Open(TokenSink& next) const = 0;
  // By how much the stage may lengthen a text.
  virtual std::size_t growth() const { return 1; }
};

// One decoding under way. What is certain is in `text`, which the caller may take and clear.
class DecoderStream : public TokenSink {
 public:
  void Write(std::string_view fragment, bool ends_token) override {
    streams_.back()->Write(fragment, ends_token);
  }
  void Finish() override { streams_.back()->Finish(); }

  std::string text;

 private:
  friend class DecoderChain;
  std::vector<std::unique_ptr<TokenSink>> streams_;  // the first stage of the file is the last here
};

class DecoderChain {
 public:
  // The component under "decoder", or null for none: then blanks stand between the tokens, as the
  // reference has it. Unknown types are kUnsupported, by name.
  static Result<DecoderChain> FromJson(const JsonNode* node);

  // Must not outlive the chain.
  std::unique_ptr<DecoderStream> Open() const;

 private:
  std::vector<std::unique_ptr<const DecoderStage>> stages_;
};

}  // namespace awq::text
