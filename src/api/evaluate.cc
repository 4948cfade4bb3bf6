#include "eval/evaluate.h"

#include <awq/awq.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "api/estimate.h"
#include "api/guard.h"
#include "api/runtime.h"
#include "api/windows.h"
#include "base/memory.h"
#include "checkpoint/stored_model.h"

namespace awq {
namespace {

using api::AddEstimate;
using api::ToEstimate;

constexpr std::size_t kDefaultCtx = 2048;

std::string ToJson(const EvaluateReport& report) {
  nlohmann::json json = {
      {"tokens", report.tokens},   {"ctx", report.ctx},
      {"windows", report.windows}, {"device", report.device},
      {"seconds", report.seconds}, {"peak_resident_bytes", report.peak_resident_bytes}};
  AddEstimate(json, "perplexity", report.perplexity);
  AddEstimate(json, "nll_nats_per_token", report.nll_nats_per_token);
  if (report.has_reference) {
    AddEstimate(json, "reference_perplexity", report.reference_perplexity);
    AddEstimate(json, "kl_mean_nats", report.kl_mean_nats);
    AddEstimate(json, "kl_median_nats", report.kl_median_nats);
    AddEstimate(json, "kl_p99_nats", report.kl_p99_nats);
    AddEstimate(json, "top1_agreement", report.top1_agreement);
  }
  return json.dump(1, ' ', false, nlohmann::json::error_handler_t::replace);
}

EvaluateReport ToPublic(const eval::EvalReport& figures) {
  EvaluateReport report;
  report.tokens = figures.predictions;
  report.ctx = figures.ctx_tokens;
  report.windows = figures.windows;
  report.perplexity = ToEstimate(figures.perplexity);
  report.nll_nats_per_token = ToEstimate(figures.nll_nats_per_token);
  report.has_reference = figures.divergence.has_value();
  if (figures.divergence) {
    const eval::Divergence& divergence = *figures.divergence;
    report.reference_perplexity = ToEstimate(divergence.reference_perplexity);
    report.kl_mean_nats = ToEstimate(divergence.kl_mean_nats);
    report.kl_median_nats = ToEstimate(divergence.kl_median_nats);
    report.kl_p99_nats = ToEstimate(divergence.kl_p99_nats);
    report.top1_agreement = ToEstimate(divergence.top1_agreement);
  }
  report.device = figures.device;
  report.seconds = figures.seconds;
  report.peak_resident_bytes = ReadMemoryUse().peak_resident_bytes;
  report.json = ToJson(report);
  return report;
}

}  // namespace

Result<EvaluateReport> Evaluate(const EvaluateOptions& options, const Runtime& runtime) {
  return api::Guard([&]() -> Result<EvaluateReport> {
    ThreadPool pool(api::CheckedThreads(runtime));
    AWQ_ASSIGN(const auto model, api::OpenModel(options.model, runtime));
    std::unique_ptr<checkpoint::StoredModel> reference;
    if (!options.reference.empty()) {
      AWQ_ASSIGN(reference, api::OpenModel(options.reference, runtime));
    }
    std::size_t most_tokens = model->config().max_position_embeddings;
    if (reference) {
      most_tokens = std::min(most_tokens, reference->config().max_position_embeddings);
    }
    AWQ_ASSIGN(const auto tokenizer, text::Tokenizer::Load(model->path()));
    AWQ_ASSIGN(const text::TokenWindows windows,
               api::ReadWindows(model->config(), *tokenizer,
                                {.text = options.text,
                                 .ctx = options.ctx.value_or(kDefaultCtx),
                                 .ctx_was_given = options.ctx.has_value(),
                                 .most_tokens = most_tokens,
                                 .bos = options.bos,
                                 .max_tokens = options.max_tokens},
                                runtime));
    eval::EvalOptions run;
    AWQ_ASSIGN(run.network, api::Resolve(runtime, options.arithmetic, *model));
    run.progress = runtime.progress;
    AWQ_ASSIGN(const eval::EvalReport figures,
               eval::Evaluate(pool, *model, reference.get(), windows.ids.view(), run));
    // Worse than guessing evenly: the text does not reach the model as it knows texts.
    if (figures.nll_nats_per_token.value >
        std::log(static_cast<double>(model->config().vocab_size))) {
      api::Note(runtime,
                "the perplexity is above the size of the vocabulary: this model may need "
                "BOS at the beginning of every window (--bos window)");
    }
    return ToPublic(figures);
  });
}

}  // namespace awq
