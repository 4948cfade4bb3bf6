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
  explicit Parts(const Runtime& runtime) : pool(api::CheckedThreads(runtime)) {}

  ChatOptions options;
  ThreadPool pool;
  std::unique_ptr<checkpoint::StoredModel> model;
  std::shared_ptr<const text::Tokenizer> tokenizer;
  std::shared_ptr<const text::ChatTemplate> chat_template;
  std::unique_ptr<transformer::Network> network;
  std::unique_ptr<generate::Session> session;
  std::vector<std::int32_t> end_tokens;
  std::vector<ChatMessage> messages;
  std::size_t forgotten = 0;  // the oldest, after the system's, that the model is no longer told
  std::uint64_t answers = 0;  // each has random numbers of its own

  Result<std::vector<std::int32_t>> Encode(const std::vector<ChatMessage>& conversation) const;
  Result<std::vector<std::int32_t>> MakePrompt();
  Result<std::size_t> LeadingTokens(std::span<const std::int32_t> prompt) const;
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
  const std::size_t forgotten = parts_->forgotten;
  parts_->messages.push_back({"user", text});
  auto answer = api::Guard([&] { return Answer(on_text); });
  if (answer) {
    parts_->messages.push_back({"assistant", answer->text});
  } else {
    parts_->messages.resize(before);
    parts_->forgotten = forgotten;
  }
  return answer;
}

Result<std::vector<std::int32_t>> Chat::Parts::Encode(
    const std::vector<ChatMessage>& conversation) const {
  AWQ_ASSIGN(const std::string text, api::RenderTurns(*chat_template, conversation));
  return tokenizer->Encode(text, false);
}

// What is told to the model: half of the context at most, where something has to be forgotten, so
// that the next turns begin as this one does.
Result<std::vector<std::int32_t>> Chat::Parts::MakePrompt() {
  const std::size_t system = messages.front().role == "system" ? 1 : 0;
  std::vector<ChatMessage> told = messages;
  const auto forget = [&](std::size_t count) {
    const auto first = told.begin() + static_cast<std::ptrdiff_t>(system);
    told.erase(first, first + static_cast<std::ptrdiff_t>(count));
  };
  forget(forgotten);
  AWQ_ASSIGN(std::vector<std::int32_t> prompt, Encode(told));
  if (!options.context_shift || prompt.size() < network->positions()) return prompt;
  while (prompt.size() > network->positions() / 2 && told.size() > system + 1) {
    do {
      forget(1);
      ++forgotten;
    } while (told.size() > system + 1 && told[system].role != "user");
    AWQ_ASSIGN(prompt, Encode(told));
  }
  return prompt;
}

// The first tokens that are the system's message, and what any text begins with.
Result<std::size_t> Chat::Parts::LeadingTokens(std::span<const std::int32_t> prompt) const {
  if (messages.front().role != "system") return api::kSinkTokens;
  AWQ_ASSIGN(const std::vector<std::int32_t> other, Encode({messages.front(), {"user", "?"}}));
  const auto end = std::ranges::mismatch(prompt, other).in1;
  return std::max<std::size_t>(api::kSinkTokens, static_cast<std::size_t>(end - prompt.begin()));
}

Result<ChatAnswer> Chat::Answer(const std::function<bool(std::string_view)>& on_text) {
  Parts& parts = *parts_;
  AWQ_ASSIGN(const std::vector<std::int32_t> prompt, parts.MakePrompt());
  generate::GenerateOptions run;
  if (parts.options.context_shift) {
    AWQ_ASSIGN(run.shift_keeps, parts.LeadingTokens(prompt));
  }
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
  answer.forgotten_messages = parts.forgotten;
  answer.finish_reason = reply.FinishReason(made.stop);
  answer.prefill_seconds = made.prefill_seconds;
  answer.decode_seconds = made.decode_seconds;
  return answer;
}

void Chat::Reset() {
  parts_->messages.clear();
  parts_->forgotten = 0;
  if (!parts_->options.system.empty())
    parts_->messages.push_back({"system", parts_->options.system});
}

const std::vector<ChatMessage>& Chat::messages() const { return parts_->messages; }

std::size_t Chat::context_tokens() const { return parts_->network->positions(); }

std::string Chat::ToJson() const { return api::MessagesToJson(parts_->messages); }

Result<void> Chat::FromJson(const std::string& json, const std::string& name) {
  return api::Guard([&]() -> Result<void> {
    AWQ_ASSIGN(parts_->messages, api::MessagesFromJson(json, name));
    parts_->forgotten = 0;
    return {};
  });
}

}  // namespace awq
