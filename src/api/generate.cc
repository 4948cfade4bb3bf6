#include "generate/generate.h"

#include <awq/awq.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "api/guard.h"
#include "api/runtime.h"
#include "checkpoint/reader.h"
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

std::string ToJson(const GenerateReport& report) {
  return nlohmann::json{{"text", report.text},
                        {"prompt_tokens", report.prompt_tokens},
                        {"new_tokens", report.new_tokens},
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
    AWQ_ASSIGN(const auto tokenizer, text::Tokenizer::Load(options.model));
    AWQ_ASSIGN(const std::vector<std::int32_t> prompt, tokenizer->Encode(options.prompt, true));
    const std::size_t limit = model->config().max_position_embeddings;
    transformer::NetworkOptions network_options;
    network_options.precision = api::ResolvePrecision(runtime.precision);
    network_options.positions = std::min(limit, prompt.size() + options.max_new_tokens);
    AWQ_ASSIGN(const auto network, transformer::Network::Create(pool, *model, network_options));

    generate::GenerateOptions run;
    run.max_new_tokens = options.max_new_tokens;
    run.sampler.temperature = static_cast<float>(options.temperature);
    run.sampler.seed = options.seed;
    run.end_tokens = EndTokens(model->config(), *tokenizer);
    text::StreamingDecoder decoder(tokenizer, /*skip_special_tokens=*/true);
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
    report.prefill_seconds = made.prefill_seconds;
    report.decode_seconds = made.decode_seconds;
    report.json = ToJson(report);
    return report;
  });
}

}  // namespace awq
