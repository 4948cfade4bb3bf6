#include "api/prompts.h"

#include <awq/awq.h>

#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "api/guard.h"
#include "api/turns.h"
#include "base/error.h"
#include "calib/tokens.h"
#include "io/file.h"
#include "io/json.h"

namespace awq {
namespace {

constexpr std::size_t kLargestFile = std::size_t{1} << 30;

Result<std::string> PromptOf(std::string_view line, bool is_json, const std::string& name) {
  if (!is_json) return std::string(line);
  AWQ_ASSIGN(const nlohmann::json json, io::ParseJson(line, name));
  const auto prompt = json.is_object() ? json.find("prompt") : json.end();
  if (prompt == json.end() || !prompt->is_string()) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "{}: expected an object with a string \"prompt\", found other JSON", name);
  }
  return prompt->get<std::string>();
}

}  // namespace

Result<std::vector<std::string>> ReadPrompts(const std::string& path) {
  return api::Guard([&]() -> Result<std::vector<std::string>> {
    AWQ_ASSIGN(const std::string file, io::ReadFile(path, kLargestFile));
    const bool is_json = path.ends_with(".jsonl");
    std::vector<std::string> prompts;
    // Empty lines at the end belong to no prompt.
    const std::size_t end = file.find_last_not_of("\r\n") + 1;
    for (auto rest = std::string_view(file).substr(0, end); !rest.empty();) {
      std::string_view line = rest.substr(0, rest.find('\n'));
      rest.remove_prefix(std::min(rest.size(), line.size() + 1));
      if (line.ends_with('\r')) line.remove_suffix(1);
      const std::string name = fmt::format("{}:{}", path, prompts.size() + 1);
      AWQ_ASSIGN(std::string prompt, line.empty() ? std::string() : PromptOf(line, is_json, name));
      if (prompt.empty()) {
        return MakeError(ErrorCode::kInvalidArgument,
                         "{}: empty; expected a prompt in every line, so that text N is that of "
                         "line N: take it out, or put a prompt there",
                         name);
      }
      prompts.push_back(std::move(prompt));
    }
    if (prompts.empty()) {
      return MakeError(ErrorCode::kInvalidArgument, "{}: has no prompts; expected one a line",
                       path);
    }
    return prompts;
  });
}

namespace api {

Result<PromptEncoder> PromptEncoder::Create(const GenerateOptions& options,
                                            const checkpoint::StoredModel& model,
                                            const text::Tokenizer& tokenizer) {
  PromptEncoder encoder(tokenizer);
  if (options.chat) {
    AWQ_ASSIGN(encoder.chat_template_, LoadChatTemplate(model.path()));
    return encoder;
  }
  encoder.special_ = options.bos == Bos::kAuto;
  if (options.bos != Bos::kWindow) return encoder;
  const std::optional<std::int32_t> bos = calib::BosToken(model.config(), tokenizer);
  if (!bos) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "--bos window: neither config.json nor the tokenizer names a BOS token; leave "
                     "it out");
  }
  encoder.before_.push_back(*bos);
  return encoder;
}

Result<std::vector<std::int32_t>> PromptEncoder::Encode(const std::string& prompt) const {
  std::string text = prompt;
  if (chat_template_) {
    AWQ_ASSIGN(text, RenderTurns(*chat_template_, {{"user", prompt}}));
  }
  AWQ_ASSIGN(std::vector<std::int32_t> tokens, tokenizer_->Encode(text, special_));
  tokens.insert(tokens.begin(), before_.begin(), before_.end());
  return tokens;
}

GenerateReport ToReport(const generate::GenerateReport& made, const Continuation& text) {
  GenerateReport report;
  report.text = text.text();
  report.prompt_tokens = made.prompt_tokens;
  report.reused_tokens = made.reused_tokens;
  report.shifted_tokens = made.shifted_tokens;
  report.new_tokens = made.tokens.size();
  report.finish_reason = text.FinishReason(made.stop);
  report.prefill_seconds = made.prefill_seconds;
  report.decode_seconds = made.decode_seconds;
  return report;
}

nlohmann::json ToJson(const GenerateReport& report) {
  return {{"text", report.text},
          {"prompt_tokens", report.prompt_tokens},
          {"reused_tokens", report.reused_tokens},
          {"shifted_tokens", report.shifted_tokens},
          {"new_tokens", report.new_tokens},
          {"finish_reason", report.finish_reason},
          {"prefill_seconds", report.prefill_seconds},
          {"decode_seconds", report.decode_seconds}};
}

}  // namespace api
}  // namespace awq
