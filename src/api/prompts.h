// Prompts -> tokens, and what comes of them -> reports.
#pragma once

#include <awq/awq.h>

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "api/answer.h"
#include "checkpoint/stored_model.h"
#include "generate/generate.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace awq::api {

// A prompt, or the turn of a user that it is, as tokens.
class PromptEncoder {
 public:
  // Error: Bos::kWindow without a BOS token, a chat without a template.
  static Result<PromptEncoder> Create(const GenerateOptions& options,
                                      const checkpoint::StoredModel& model,
                                      const text::Tokenizer& tokenizer);

  Result<std::vector<std::int32_t>> Encode(const std::string& prompt) const;

 private:
  explicit PromptEncoder(const text::Tokenizer& tokenizer) : tokenizer_(&tokenizer) {}

  const text::Tokenizer* tokenizer_;
  std::shared_ptr<const text::ChatTemplate> chat_template_;  // null: no chat
  bool special_ = false;                                     // what the tokenizer adds
  std::vector<std::int32_t> before_;
};

GenerateReport ToReport(const generate::GenerateReport& made, const Continuation& text);
nlohmann::json ToJson(const GenerateReport& report);

}  // namespace awq::api
