#include "api/answer.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"
#include "io/json.h"

namespace awq::api {
namespace {

constexpr const char* kGenerationConfig = "generation_config.json";
constexpr std::size_t kMostEndTokens = 64;

void Add(std::int64_t id, std::vector<std::int32_t>& ends) {
  const auto token = static_cast<std::int32_t>(id);
  if (std::ranges::find(ends, token) == ends.end()) ends.push_back(token);
}

Status AddFromGenerationConfig(const checkpoint::StoredModel& model,
                               std::vector<std::int32_t>& ends) {
  AWQ_ASSIGN(const auto text, model.SmallFile(kGenerationConfig));
  if (!text) return {};
  const std::string name = (model.path() / kGenerationConfig).string();
  AWQ_ASSIGN(const nlohmann::json config, io::ParseJson(*text, name));
  if (!config.is_object()) return MakeError(ErrorCode::kCorrupt, "{}: expected an object", name);
  const auto found = config.find("eos_token_id");
  if (found == config.end() || found->is_null()) return {};
  const nlohmann::json ids = found->is_array() ? *found : nlohmann::json::array({*found});
  for (const nlohmann::json& id : ids) {
    const bool is_token =
        id.is_number_unsigned() && id.get<std::uint64_t>() < model.config().vocab_size;
    if (!is_token || ids.size() > kMostEndTokens) {
      return MakeError(ErrorCode::kCorrupt,
                       "{}: eos_token_id: expected up to {} ids below vocab_size ({}), found {}",
                       name, kMostEndTokens, model.config().vocab_size,
                       found->dump().substr(0, 80));
    }
    Add(id.get<std::int64_t>(), ends);
  }
  return {};
}

}  // namespace

Result<std::vector<std::int32_t>> EndTokens(const checkpoint::StoredModel& model,
                                            const text::Tokenizer& tokenizer) {
  std::vector<std::int32_t> ends;
  for (const std::int64_t id : model.config().eos_token_ids) Add(id, ends);
  AWQ_TRY(AddFromGenerationConfig(model, ends));
  if (const auto id = tokenizer.eos_id()) Add(*id, ends);
  return ends;
}

Result<generate::SamplerOptions> ToSampler(const Sampling& sampling) {
  const auto check = [](std::string_view name, double value, double low, double high) -> Status {
    if (value >= low && value <= high) return {};
    return MakeError(ErrorCode::kInvalidArgument, "{} is {}: expected {} to {}", name, value, low,
                     high);
  };
  AWQ_TRY(check("temperature", sampling.temperature, 0, 100));
  AWQ_TRY(check("top_p", sampling.top_p, 0, 1));
  AWQ_TRY(check("min_p", sampling.min_p, 0, 1));
  AWQ_TRY(check("repeat_penalty", sampling.repeat_penalty, 0.01, 100));
  generate::SamplerOptions options;
  options.temperature = static_cast<float>(sampling.temperature);
  options.top_k = sampling.top_k;
  options.top_p = static_cast<float>(sampling.top_p);
  options.min_p = static_cast<float>(sampling.min_p);
  options.repeat_penalty = static_cast<float>(sampling.repeat_penalty);
  options.seed = sampling.seed;
  return options;
}

Continuation::Continuation(const std::shared_ptr<const text::Tokenizer>& tokenizer,
                           std::span<const std::int32_t> prompt, const Sampling& sampling,
                           OnText on_text)
    : decoder_(tokenizer, /*skip_special_tokens=*/true),
      stop_(sampling.stop),
      on_text_(std::move(on_text)) {
  std::size_t shown = 0;
  for (const std::int32_t id : prompt) shown += decoder_.Feed(id).size();
  const std::size_t whole = tokenizer->Decode(prompt, true).size();
  held_back_ = whole > shown ? whole - shown : 0;
}

bool Continuation::Show(const std::string& text) {
  text_ += text;
  const bool goes_on = !on_text_ || on_text_(text);
  return goes_on && !stop_.matched();
}

void Continuation::Finish() {
  const std::string rest = stop_.Feed(New(decoder_.Flush()));
  Show(rest + stop_.Flush());
}

std::string Continuation::FinishReason(generate::StopReason reason) const {
  if (stop_.matched()) return "stop";
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

std::string Continuation::New(std::string text) {
  const std::size_t old = std::min(held_back_, text.size());
  held_back_ -= old;
  return text.substr(old);
}

}  // namespace awq::api
