// The streams that decoder.cc makes stages of, one for each decoder type.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "text/decoder.h"

namespace awq::text {

// A stream with one behind it.
class ChainedStream : public TokenSink {
 public:
  explicit ChainedStream(TokenSink& next) : next_(next) {}
  void Finish() override { next_.Finish(); }

 protected:
  TokenSink& next() { return next_; }

 private:
  TokenSink& next_;
};

// What ends the chain.
class StringSink final : public TokenSink {
 public:
  explicit StringSink(std::string& text) : text_(text) {}
  void Write(std::string_view fragment, bool /*ends_token*/) override { text_ += fragment; }
  void Finish() override {}

 private:
  std::string& text_;
};

// No decoder at all: a blank between two tokens.
class JoinStream final : public ChainedStream {
 public:
  using ChainedStream::ChainedStream;
  void Write(std::string_view fragment, bool ends_token) override;

 private:
  bool owes_blank_ = false;
};

// All tokens become one.
class FuseStream final : public ChainedStream {
 public:
  using ChainedStream::ChainedStream;
  void Write(std::string_view fragment, bool ends_token) override;
  void Finish() override;
};

// Byte letters become bytes, bytes become characters, ill-formed pieces become U+FFFD.
class ByteLevelStream final : public ChainedStream {
 public:
  using ChainedStream::ChainedStream;
  void Write(std::string_view fragment, bool ends_token) override;
  void Finish() override;

 private:
  std::string token_;
  std::string bytes_;  // the start of a character
};

// A run of tokens <0xNN> becomes the text of its bytes, or one U+FFFD for each where they are not
// valid UTF-8 as a whole; so a run is held back until it ends.
class ByteFallbackStream final : public ChainedStream {
 public:
  using ChainedStream::ChainedStream;
  void Write(std::string_view fragment, bool ends_token) override;
  void Finish() override;

 private:
  void FlushBytes();
  std::string token_;
  bool passing_ = false;  // the token at hand is not a byte
  std::string bytes_;
};

// Takes up to `start` characters `content` off the start of each token, up to `stop` off the end.
class StripStream final : public ChainedStream {
 public:
  StripStream(TokenSink& next, std::string content, std::size_t start, std::size_t stop)
      : ChainedStream(next), content_(std::move(content)), start_(start), stop_(stop) {}
  void Write(std::string_view fragment, bool ends_token) override;

 private:
  std::string content_;
  std::size_t start_;
  std::size_t stop_;
  bool at_start_ = true;
  std::size_t stripped_ = 0;
  std::size_t held_ = 0;  // characters `content` that may turn out to be at the end
};

class ReplaceStream final : public ChainedStream {
 public:
  // `pattern` is not empty.
  ReplaceStream(TokenSink& next, std::string pattern, std::string content)
      : ChainedStream(next), pattern_(std::move(pattern)), content_(std::move(content)) {}
  void Write(std::string_view fragment, bool ends_token) override;

 private:
  std::string pattern_;
  std::string content_;
  std::string held_;  // may be the start of the pattern
};

// `replacement` becomes a blank, and in the first token, with `drops_first`, nothing.
class MetaspaceStream final : public ChainedStream {
 public:
  MetaspaceStream(TokenSink& next, std::string replacement, bool drops_first)
      : ChainedStream(next), replacement_(std::move(replacement)), drops_(drops_first) {}
  void Write(std::string_view fragment, bool ends_token) override;

 private:
  std::string replacement_;
  bool drops_;
};

// The word-end suffix becomes a blank, but nothing in the last token.
class BpeDecoderStream final : public ChainedStream {
 public:
  BpeDecoderStream(TokenSink& next, std::string suffix)
      : ChainedStream(next), suffix_(std::move(suffix)) {}
  void Write(std::string_view fragment, bool ends_token) override;
  void Finish() override;

 private:
  std::string suffix_;
  std::string token_;
  bool complete_ = false;
};

}  // namespace awq::text
