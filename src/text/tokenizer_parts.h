// What a Tokenizer is made of. Private to tokenizer*.cc.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/decoder.h"
#include "text/normalizer.h"
#include "text/post_processor.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer.h"

namespace awq::text {

// Working memory of one Encode at a time, kept for the next.
struct EncodeScratch {
  explicit EncodeScratch(std::uint64_t seed) : bpe(seed) {}
  BpeScratch bpe;
  PreTokenizerScratch pre_tokenizer;
};

// Lends scratch to as many calls as run at once.
class ScratchPool {
 public:
  std::unique_ptr<EncodeScratch> Take() {
    const std::lock_guard lock(mutex_);
    if (free_.empty()) return std::make_unique<EncodeScratch>(seed_);
    auto scratch = std::move(free_.back());
    free_.pop_back();
    return scratch;
  }
  void Give(std::unique_ptr<EncodeScratch> scratch) {
    const std::lock_guard lock(mutex_);
    if (free_.size() < kKept) free_.push_back(std::move(scratch));
  }

 private:
  static constexpr std::size_t kKept = 64;
  std::mutex mutex_;
  std::vector<std::unique_ptr<EncodeScratch>> free_;
  std::uint64_t seed_ = std::random_device()();
};

struct Tokenizer::Parts {
  explicit Parts(BpeModel bpe) : model(std::move(bpe)) {}

  BpeModel model;
  NormalizerChain normalizer;
  PreTokenizerChain pre_tokenizer;
  DecoderChain decoder;
  PostProcessor post_processor;

  AddedTokenMatcher raw_tokens;         // sought in the text as given
  AddedTokenMatcher normalized_tokens;  // sought after normalization
  std::unordered_map<std::string, std::int32_t> added_ids;

  struct TokenText {
    std::string text;
    bool exists = false;
    bool special = false;
  };
  std::vector<TokenText> tokens;  // by id, as decoding wants them
  std::size_t vocab_size = 0;

  std::optional<std::int32_t> bos_id;
  std::optional<std::int32_t> eos_id;
  std::optional<bool> add_bos_token;

  mutable ScratchPool pool;
};

}  // namespace awq::text
