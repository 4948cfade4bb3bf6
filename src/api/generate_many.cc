#include <awq/awq.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "api/answer.h"
#include "api/guard.h"
#include "api/prompts.h"
#include "api/runtime.h"
#include "base/clock.h"
#include "base/error.h"
#include "checkpoint/stored_model.h"
#include "generate/engine.h"
#include "text/tokenizer.h"

namespace awq {
namespace {

using Tokens = std::vector<std::int32_t>;
using OnText = std::function<bool(std::size_t, const GenerateReport&)>;

// The prompts of one run, and what has come of them.
class ManyTexts {
 public:
  ManyTexts(const GenerateManyOptions& options, const Runtime& runtime, const OnText& on_text)
      : options_(options), runtime_(runtime), on_text_(on_text) {}

  Status Open() {
    AWQ_ASSIGN(model_, api::OpenModel(options_.each.model, runtime_));
    AWQ_ASSIGN(tokenizer_, text::Tokenizer::Load(model_->path()));
    AWQ_ASSIGN(run_.sampler, api::ToSampler(options_.each.sampling));
    AWQ_ASSIGN(run_.end_tokens, api::EndTokens(*model_, *tokenizer_));
    run_.max_new_tokens = options_.each.max_new_tokens;
    if (options_.each.context_shift) run_.shift_keeps = api::kSinkTokens;
    AWQ_ASSIGN(const auto encoder, api::PromptEncoder::Create(options_.each, *model_, *tokenizer_));
    for (const std::string& prompt : options_.prompts) {
      AWQ_ASSIGN(Tokens tokens, encoder.Encode(prompt));
      const std::size_t limit = model_->config().max_position_embeddings;
      const bool is_cut = run_.shift_keeps && limit > 1 && tokens.size() >= limit;
      if (const Status fits = generate::CheckPromptLength(tokens.size(), limit); !fits && !is_cut) {
        return MakeError(fits.error().code, "prompt {} (of {}): {}", prompts_.size() + 1,
                         options_.prompts.size(), fits.error().message);
      }
      positions_ =
          std::max(positions_, std::min(limit, tokens.size() + options_.each.max_new_tokens));
      prompts_.push_back(std::move(tokens));
    }
    return {};
  }

  Result<GenerateManyReport> Run(ThreadPool& pool) {
    AWQ_ASSIGN(const auto network,
               api::MakeNetwork(pool, *model_, runtime_, options_.each.arithmetic, positions_));
    const std::size_t batch = std::min(options_.batch, prompts_.size());
    generate::Engine engine(*network, {.sequences = batch});
    report_.device = network->device();
    for (std::size_t i = 0; i < prompts_.size(); ++i) AWQ_TRY(Add(engine, i));
    const auto start = std::chrono::steady_clock::now();
    std::size_t pages = 0;
    while (!engine.idle()) {
      AWQ_TRY(engine.Step());
      pages = std::max(pages, engine.load().pages);
      if (error_) return *error_;
      Show();
    }
    report_.seconds = SecondsSince(start);
    report_.cache_bytes = pages * engine.page_bytes();
    Complete();
    return std::move(report_);
  }

 private:
  struct Text {
    api::Continuation continuation;
    std::optional<GenerateReport> report = {};
  };

  Status Add(generate::Engine& engine, std::size_t index) {
    texts_.push_back({{tokenizer_, prompts_[index], options_.each.sampling, nullptr}});
    Text& text = texts_.back();
    generate::Request request{prompts_[index], run_};
    request.options.stream = index;
    request.options.goes_on = [this] { return !is_stopped_; };
    request.on_token = [this, &text](std::int32_t token) {
      return !is_stopped_ && text.continuation.Feed(token);
    };
    request.on_end = [this, &text](const Result<generate::GenerateReport>& made) {
      if (!made) {
        error_ = made.error();
        return;
      }
      text.continuation.Finish();
      text.report = api::ToReport(*made, text.continuation);
    };
    const auto id = engine.Add(std::move(request));
    return id ? Status() : Status(id.error());
  }

  // What is whole, up to the first text that is not.
  void Show() {
    for (; shown_ < texts_.size() && texts_[shown_].report; ++shown_) {
      Report(runtime_.progress, "generating", shown_ + 1, texts_.size(), "texts");
      if (is_stopped_ || !on_text_) continue;
      is_stopped_ = !on_text_(shown_, *texts_[shown_].report);
    }
  }

  void Complete() {
    nlohmann::json texts = nlohmann::json::array();
    for (Text& text : texts_) {
      GenerateReport& each = *text.report;
      report_.prompt_tokens += each.prompt_tokens;
      report_.reused_tokens += each.reused_tokens;
      report_.new_tokens += each.new_tokens;
      texts.push_back(api::ToJson(each));
      report_.texts.push_back(std::move(each));
    }
    report_.json = nlohmann::json{{"texts", std::move(texts)},
                                  {"batch", options_.batch},
                                  {"device", report_.device},
                                  {"prompt_tokens", report_.prompt_tokens},
                                  {"reused_tokens", report_.reused_tokens},
                                  {"new_tokens", report_.new_tokens},
                                  {"seconds", report_.seconds},
                                  {"cache_bytes", report_.cache_bytes}}
                       .dump(1, ' ', false, nlohmann::json::error_handler_t::replace);
  }

  const GenerateManyOptions& options_;
  const Runtime& runtime_;
  const OnText& on_text_;
  std::unique_ptr<checkpoint::StoredModel> model_;
  std::shared_ptr<const text::Tokenizer> tokenizer_;
  generate::GenerateOptions run_;
  std::vector<Tokens> prompts_;
  std::size_t positions_ = 0;
  std::deque<Text> texts_;  // which stay where they are
  std::size_t shown_ = 0;
  bool is_stopped_ = false;
  std::optional<Error> error_;
  GenerateManyReport report_;
};

}  // namespace

Result<GenerateManyReport> GenerateMany(const GenerateManyOptions& options, const Runtime& runtime,
                                        const OnText& on_text) {
  return api::Guard([&]() -> Result<GenerateManyReport> {
    if (options.batch == 0 || options.prompts.empty()) {
      return MakeError(ErrorCode::kInvalidArgument,
                       "{} prompts, {} at a time: expected at least one of each",
                       options.prompts.size(), options.batch);
    }
    ThreadPool pool(api::CheckedThreads(runtime));
    ManyTexts texts(options, runtime, on_text);
    AWQ_TRY(texts.Open());
    return texts.Run(pool);
  });
}

}  // namespace awq
