// What run and chat share: when a text ends, and how its tokens become text.
#pragma once

#include <awq/result.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/stored_model.h"
#include "generate/generate.h"
#include "text/tokenizer.h"

namespace awq::api {

// The tokens that end a text: eos_token_id of config.json and of generation_config.json, each one
// or a list, and the tokenizer's eos_token. Error: a generation_config.json that is none.
Result<std::vector<std::int32_t>> EndTokens(const checkpoint::StoredModel& model,
                                            const text::Tokenizer& tokenizer);

std::string_view Name(generate::StopReason reason);  // "end", "length", "context", "stopped"

// Decodes what follows a prompt: a first token's space belongs to the text only where the decoder
// has seen what stands before it.
class Continuation {
 public:
  Continuation(const std::shared_ptr<const text::Tokenizer>& tokenizer,
               std::span<const std::int32_t> prompt);
  std::string Feed(std::int32_t id) { return New(decoder_.Feed(id)); }
  std::string Flush() { return New(decoder_.Flush()); }

 private:
  // Without the end of the prompt, where the decoder had still held it back.
  std::string New(std::string text);

  text::StreamingDecoder decoder_;
  std::size_t held_back_ = 0;
};

}  // namespace awq::api
