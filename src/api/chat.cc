#include <awq/awq.h>

#include <algorithm>
#include <utility>

#include "api/answer.h"
#include "api/guard.h"
#include "api/runtime.h"
#include "api/turns.h"
#include "checkpoint/stored_model.h"
#include "generate/generate.h"

namespace awq {

struct Chat::Parts {
  explicit Parts(const Runtime& runtime) : pool(runtime.threads) {}

  ChatOptions options;
  ThreadPool pool;
  std::unique_ptr<checkpoint::StoredModel> model;
  std::shared_ptr<const text::Tokenizer> tokenizer;
  std::shared_ptr<const text::ChatTemplate> chat_template;
  std::unique_ptr<transformer::Network> network;
  std::unique_ptr<generate::Session> session;
  std::vector<std::int32_t> end_tokens;
  std::vector<ChatMessage> messages;
  std::uint64_t answers = 0;  // each has random numbers of its own
};

Chat::Chat(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Chat::~Chat() = default;

Result<std::unique_ptr<Chat>> Chat::Open(const ChatOptions& options, const Runtime& runtime) {
  return api::Guard([&]() -> Result<std::unique_ptr<Chat>> {
    auto parts = std::make_unique<Parts>(runtime);
    parts->options = options;
    AWQ_ASSIGN(parts->model, api::OpenModel(options.model, runtime));
    const checkpoint::StoredModel& model = *parts->model;
    AWQ_ASSIGN(parts->tokenizer, text::Tokenizer::Load(model.path()));
    AWQ_ASSIGN(parts->chat_template, api::LoadChatTemplate(model.path()));
    AWQ_ASSIGN(parts->end_tokens, api::EndTokens(model, *parts->tokenizer));
    const std::size_t positions =
        std::min<std::size_t>(model.config().max_position_embeddings, options.context_tokens);
    AWQ_ASSIGN(parts->network,
               api::MakeNetwork(parts->pool, model, runtime, options.arithmetic, positions));
    parts->session = std::make_unique<generate::Session>(*parts->network);
    std::unique_ptr<Chat> chat(new Chat(std::move(parts)));
    chat->Reset();
    return chat;
  });
}

Result<ChatAnswer> Chat::Say(const std::string& text,
                             const std::function<bool(std::string_view)>& on_text) {
  const std::size_t before = parts_->messages.size();
  parts_->messages.push_back({"user", text});
  auto answer = api::Guard([&] { return Answer(on_text); });
  if (answer) {
    parts_->messages.push_back({"assistant", answer->text});
  } else {
    parts_->messages.resize(before);
  }
  return answer;
}

Result<ChatAnswer> Chat::Answer(const std::function<bool(std::string_view)>& on_text) {
  Parts& parts = *parts_;
  AWQ_ASSIGN(const std::string text, api::RenderTurns(*parts.chat_template, parts.messages));
  AWQ_ASSIGN(const std::vector<std::int32_t> prompt, parts.tokenizer->Encode(text, false));
  generate::GenerateOptions run;
  run.max_new_tokens = parts.options.max_new_tokens;
  AWQ_ASSIGN(run.sampler, api::ToSampler(parts.options.sampling));
  run.stream = parts.answers++;
  run.end_tokens = parts.end_tokens;
  if (on_text) run.goes_on = [&] { return on_text(""); };
  api::Continuation reply(parts.tokenizer, prompt, parts.options.sampling, on_text);
  AWQ_ASSIGN(
      const generate::GenerateReport made,
      parts.session->Generate(prompt, run, [&](std::int32_t token) { return reply.Feed(token); }));
  reply.Finish();
  ChatAnswer answer;
  answer.text = reply.text();
  answer.prompt_tokens = made.prompt_tokens;
  answer.reused_tokens = made.reused_tokens;
  answer.new_tokens = made.tokens.size();
  answer.finish_reason = reply.FinishReason(made.stop);
  answer.prefill_seconds = made.prefill_seconds;
  answer.decode_seconds = made.decode_seconds;
  return answer;
}

void Chat::Reset() {
  parts_->messages.clear();
  if (!parts_->options.system.empty())
    parts_->messages.push_back({"system", parts_->options.system});
}

const std::vector<ChatMessage>& Chat::messages() const { return parts_->messages; }

std::size_t Chat::context_tokens() const { return parts_->network->positions(); }

std::string Chat::ToJson() const { return api::MessagesToJson(parts_->messages); }

Result<void> Chat::FromJson(const std::string& json, const std::string& name) {
  return api::Guard([&]() -> Result<void> {
    AWQ_ASSIGN(parts_->messages, api::MessagesFromJson(json, name));
    return {};
  });
}

}  // namespace awq
