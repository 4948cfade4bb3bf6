#include "generate/generate.h"

#include <awq/awq.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "api/guard.h"
#include "api/runtime.h"
#include "base/error.h"
#include "calib/tokens.h"
#include "checkpoint/stored_model.h"
#include "text/tokenizer.h"

namespace awq {
namespace {

std::vector<std::int32_t> EndTokens(const model::ModelConfig& config,
                                    const text::Tokenizer& tokenizer) {
  std::vector<std::int32_t> ends;
  for (std::int64_t id : config.eos_token_ids) ends.push_back(static_cast<std::int32_t>(id));
  if (ends.empty() && tokenizer.eos_id()) ends.push_back(*tokenizer.eos_id());
  return ends;
}

std::string_view Name(generate::StopReason reason) {
  switch (reason) {
    case generate::StopReason::kEnd:
      return "end";
    case generate::StopReason::kContext:
      return "context";
    case generate::StopReason::kCaller:
      return "stopped";
    case generate::StopReason::kLength:
      break;
  }
  return "length";
}

// Decodes what follows a prompt: a first token's space belongs to the text only where the decoder
// has seen what stands before it.
class Continuation {
 public:
  Continuation(const std::shared_ptr<const text::Tokenizer>& tokenizer,
               std::span<const std::int32_t> prompt)
      : decoder_(tokenizer, /*skip_special_tokens=*/true) {
    std::size_t shown = 0;
    for (std::int32_t id : prompt) shown += decoder_.Feed(id).size();
    const std::size_t whole = tokenizer->Decode(prompt, true).size();
    held_back_ = whole > shown ? whole - shown : 0;
  }
  std::string Feed(std::int32_t id) { return New(decoder_.Feed(id)); }
  std::string Flush() { return New(decoder_.Flush()); }

 private:
  // Without the end of the prompt, where the decoder had still held it back.
  std::string New(std::string text) {
    const std::size_t old = std::min(held_back_, text.size());
    held_back_ -= old;
    return text.substr(old);
  }

  text::StreamingDecoder decoder_;
  std::size_t held_back_ = 0;
};

Result<std::vector<std::int32_t>> ReadPrompt(const model::ModelConfig& config,
                                             const text::Tokenizer& tokenizer,
                                             const GenerateOptions& options) {
  AWQ_ASSIGN(std::vector<std::int32_t> prompt,
             tokenizer.Encode(options.prompt, options.bos == Bos::kAuto));
  if (options.bos != Bos::kWindow) return prompt;
  const std::optional<std::int32_t> bos = calib::BosToken(config, tokenizer);
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
    AWQ_ASSIGN(const std::vector<std::int32_t> prompt,
               ReadPrompt(model->config(), *tokenizer, options));
    const std::size_t limit = model->config().max_position_embeddings;
    transformer::NetworkOptions network_options;
    network_options.precision = api::ResolvePrecision(runtime.precision);
    AWQ_ASSIGN(network_options.packed, api::ToPacked(options.activations, *model));
    AWQ_ASSIGN(network_options.head_bits, api::ReadHeadBits(options.head_bits));
    network_options.positions = std::min(limit, prompt.size() + options.max_new_tokens);
    AWQ_ASSIGN(const auto network, transformer::Network::Create(pool, *model, network_options));

    generate::GenerateOptions run;
    run.max_new_tokens = options.max_new_tokens;
    run.sampler.temperature = static_cast<float>(options.temperature);
    run.sampler.seed = options.seed;
    run.end_tokens = EndTokens(model->config(), *tokenizer);
    Continuation decoder(tokenizer, prompt);
    GenerateReport report;
    const auto emit = [&](std::string text) {
      report.text += text;
      return text.empty() || !on_text || on_text(text);
    };
    AWQ_ASSIGN(const generate::GenerateReport made,
               generate::Generate(*network, prompt, run,
                                  [&](std::int32_t token) { return emit(decoder.Feed(token)); }));
    emit(decoder.Flush());
    report.prompt_tokens = made.prompt_tokens;
    report.new_tokens = made.tokens.size();
    report.finish_reason = std::string(Name(made.stop));
    report.prefill_seconds = made.prefill_seconds;
    report.decode_seconds = made.decode_seconds;
    report.json = ToJson(report);
    return report;
  });
}

}  // namespace awq
