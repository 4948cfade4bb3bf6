#include "generate/generate.h"

#include <awq/awq.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "api/answer.h"
#include "api/guard.h"
#include "api/prompts.h"
#include "api/runtime.h"
#include "checkpoint/stored_model.h"
#include "text/tokenizer.h"

namespace awq {

Result<GenerateReport> Generate(const GenerateOptions& options, const Runtime& runtime,
                                const std::function<bool(std::string_view)>& on_text) {
  return api::Guard([&]() -> Result<GenerateReport> {
    ThreadPool pool(api::CheckedThreads(runtime));
    AWQ_ASSIGN(const auto model, api::OpenModel(options.model, runtime));
    AWQ_ASSIGN(const auto tokenizer, text::Tokenizer::Load(model->path()));
    AWQ_ASSIGN(const auto encoder, api::PromptEncoder::Create(options, *model, *tokenizer));
    AWQ_ASSIGN(const std::vector<std::int32_t> prompt, encoder.Encode(options.prompt));
    const std::size_t limit = model->config().max_position_embeddings;
    AWQ_ASSIGN(const auto network,
               api::MakeNetwork(pool, *model, runtime, options.arithmetic,
                                std::min(limit, prompt.size() + options.max_new_tokens)));

    generate::GenerateOptions run;
    run.max_new_tokens = options.max_new_tokens;
    if (options.context_shift) run.shift_keeps = api::kSinkTokens;
    AWQ_ASSIGN(run.sampler, api::ToSampler(options.sampling));
    AWQ_ASSIGN(run.end_tokens, api::EndTokens(*model, *tokenizer));
    api::Continuation text(tokenizer, prompt, options.sampling, [&](std::string_view part) {
      return part.empty() || !on_text || on_text(part);
    });
    AWQ_ASSIGN(const generate::GenerateReport made,
               generate::Generate(*network, prompt, run,
                                  [&](std::int32_t token) { return text.Feed(token); }));
    text.Finish();
    GenerateReport report = api::ToReport(made, text);
    report.device = network->device();
    nlohmann::json json = api::ToJson(report);
    json["device"] = report.device;
    report.json = json.dump(1, ' ', false, nlohmann::json::error_handler_t::replace);
    return report;
  });
}

}  // namespace awq
