// What run and chat share: when a text ends, and how its tokens become text.
#pragma once

#include <awq/awq.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/stored_model.h"
#include "generate/generate.h"
#include "generate/stop_strings.h"
#include "text/tokenizer.h"

namespace awq::api {

// The tokens that end a text: eos_token_id of config.json and of generation_config.json, each one
// or a list, and the tokenizer's eos_token. Error: a generation_config.json that is none.
Result<std::vector<std::int32_t>> EndTokens(const checkpoint::StoredModel& model,
                                            const text::Tokenizer& tokenizer);

// What a model attends to whatever the text is (Xiao et al. 2023, "attention sinks").
inline constexpr std::size_t kSinkTokens = 4;

// Error: a number out of its range.
Result<generate::SamplerOptions> ToSampler(const Sampling& sampling);

// Decodes what follows a prompt: a first token's space belongs to the text only where the decoder
// has seen what stands before it. What is shown ends before a stop string.
class Continuation {
 public:
  // `on_text` may be empty; it stops the text by returning false.
  using OnText = std::function<bool(std::string_view)>;
  Continuation(const std::shared_ptr<const text::Tokenizer>& tokenizer,
               std::span<const std::int32_t> prompt, const Sampling& sampling, OnText on_text);

  // False where the text ends here.
  bool Feed(std::int32_t id) { return Show(stop_.Feed(New(decoder_.Feed(id)))); }
  void Finish();
  const std::string& text() const { return text_; }
  // "end", "stop", "length", "context", "stopped"
  std::string FinishReason(generate::StopReason reason) const;

 private:
  // Without the end of the prompt, where the decoder had still held it back.
  std::string New(std::string text);
  bool Show(const std::string& text);

  text::StreamingDecoder decoder_;
  generate::StopStrings stop_;
  OnText on_text_;
  std::size_t held_back_ = 0;
  std::string text_;
};

}  // namespace awq::api
