#include "generate/generate.h"

#include <awq/awq.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "api/answer.h"
#include "api/guard.h"
#include "api/runtime.h"
#include "api/turns.h"
#include "base/error.h"
#include "calib/tokens.h"
#include "checkpoint/stored_model.h"
#include "text/tokenizer.h"

namespace awq {
namespace {

// The prompt, or the turn of a user that it is, as tokens.
Result<std::vector<std::int32_t>> PromptTokens(const GenerateOptions& options,
                                               const checkpoint::StoredModel& model,
                                               const text::Tokenizer& tokenizer) {
  if (options.chat) {
    AWQ_ASSIGN(const auto chat_template, api::LoadChatTemplate(model.path()));
    AWQ_ASSIGN(const std::string prompt,
               api::RenderTurns(*chat_template, {{"user", options.prompt}}));
    return tokenizer.Encode(prompt, false);
  }
  AWQ_ASSIGN(std::vector<std::int32_t> prompt,
             tokenizer.Encode(options.prompt, options.bos == Bos::kAuto));
  if (options.bos != Bos::kWindow) return prompt;
  const std::optional<std::int32_t> bos = calib::BosToken(model.config(), tokenizer);
  if (!bos) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "--bos window: neither config.json nor the tokenizer names a BOS token; leave "
                     "it out");
  }
  prompt.insert(prompt.begin(), *bos);
  return prompt;
}

std::string ToJson(const GenerateReport& report) {
  return nlohmann::json{{"text", report.text},
                        {"prompt_tokens", report.prompt_tokens},
                        {"new_tokens", report.new_tokens},
                        {"finish_reason", report.finish_reason},
                        {"prefill_seconds", report.prefill_seconds},
                        {"decode_seconds", report.decode_seconds}}
      .dump(1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

Result<GenerateReport> Generate(const GenerateOptions& options, const Runtime& runtime,
                                const std::function<bool(std::string_view)>& on_text) {
  return api::Guard([&]() -> Result<GenerateReport> {
    ThreadPool pool(runtime.threads);
    AWQ_ASSIGN(const auto model, api::OpenModel(options.model, runtime));
    AWQ_ASSIGN(const auto tokenizer, text::Tokenizer::Load(model->path()));
    AWQ_ASSIGN(const std::vector<std::int32_t> prompt, PromptTokens(options, *model, *tokenizer));
    const std::size_t limit = model->config().max_position_embeddings;
    AWQ_ASSIGN(const auto network,
               api::MakeNetwork(pool, *model, runtime, options.arithmetic,
                                std::min(limit, prompt.size() + options.max_new_tokens)));

    generate::GenerateOptions run;
    run.max_new_tokens = options.max_new_tokens;
    AWQ_ASSIGN(run.sampler, api::ToSampler(options.sampling));
    AWQ_ASSIGN(run.end_tokens, api::EndTokens(*model, *tokenizer));
    api::Continuation text(tokenizer, prompt, options.sampling, [&](std::string_view part) {
      return part.empty() || !on_text || on_text(part);
    });
    AWQ_ASSIGN(const generate::GenerateReport made,
               generate::Generate(*network, prompt, run,
                                  [&](std::int32_t token) { return text.Feed(token); }));
    text.Finish();
    GenerateReport report;
    report.text = text.text();
    report.prompt_tokens = made.prompt_tokens;
    report.new_tokens = made.tokens.size();
    report.finish_reason = text.FinishReason(made.stop);
    report.prefill_seconds = made.prefill_seconds;
    report.decode_seconds = made.decode_seconds;
    report.json = ToJson(report);
    return report;
  });
}

}  // namespace awq
