#include "text/chat_template.h"

#include <array>
#include <ctime>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "base/error.h"
#include "io/file.h"
#include "io/gguf.h"
#include "io/json.h"
#include "text/gguf_tokenizer.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/json_value.h"
#include "text/jinja/parser.h"
#include "text/utf8.h"

namespace awq::text {
namespace {

using jinja::Dict;
using jinja::Value;

constexpr std::size_t kMostConfigBytes = std::size_t{128} << 20;
constexpr std::array kSpecialTokens = {"bos_token", "eos_token", "unk_token", "sep_token",
                                       "pad_token", "cls_token", "mask_token"};
// Under the first, templates find what a model thought; older ones look for the second.
constexpr std::array kReasoning = {"reasoning_content", "thinking", "reasoning"};

Error Named(const std::string& name, const Error& error) {
  return Error{error.code, fmt::format("{}: {}", name, error.message)};
}

Result<jinja::Block> ParseSource(std::string_view source, const std::string& name) {
  if (source.size() > ChatTemplate::kMostBytes) {
    return MakeError(ErrorCode::kUnsupported, "{}: a template of {} bytes; at most {} are taken",
                     name, source.size(), ChatTemplate::kMostBytes);
  }
  if (!IsValidUtf8(source)) return MakeError(ErrorCode::kCorrupt, "{}: not valid UTF-8", name);
  auto block = jinja::Parse(source);
  if (!block) return Named(name, block.error());
  return block;
}

// As transformers does: no members that are null, and reasoning under both of its names.
Result<Value> PrepareMessage(jinja::Meter& meter, const Value& message, const std::string& name) {
  if (message.dict() == nullptr) {
    return MakeError(ErrorCode::kInvalidArgument, "{}: a message is no object", name);
  }
  const Value* reasoning = nullptr;
  for (const char* key : kReasoning) {
    const Value* found = message.dict()->Find(std::string_view(key));
    if (reasoning == nullptr && found != nullptr && !found->is_none()) reasoning = found;
  }
  std::vector<std::pair<Value, Value>> members;
  if (reasoning != nullptr) members.emplace_back(Value::Plain("thinking"), *reasoning);
  for (const auto& member : message.dict()->items()) {
    if (!member.second.is_none()) members.push_back(member);
  }
  if (reasoning != nullptr) members.emplace_back(Value::Plain("reasoning_content"), *reasoning);
  return jinja::MakeDict(meter, std::move(members));
}

Result<Value> ReadMessages(jinja::Meter& meter, const std::string& json, const std::string& name) {
  AWQ_ASSIGN(const Value parsed, jinja::ValueFromJson(json, "messages"));
  if (parsed.sequence() == nullptr || parsed.sequence()->items.empty()) {
    return MakeError(ErrorCode::kInvalidArgument, "{}: messages are no list, or an empty one",
                     name);
  }
  std::vector<Value> messages;
  for (const Value& each : parsed.sequence()->items) {
    AWQ_ASSIGN(Value message, PrepareMessage(meter, each, name));
    messages.push_back(std::move(message));
  }
  return jinja::MakeSequence(meter, std::move(messages));
}

struct Sources {
  std::string name;                       // of the file, for errors
  std::optional<std::string> plain;       // the template, or "default"
  std::optional<std::string> with_tools;  // "tool_use"
  nlohmann::json config = nlohmann::json::object();
};

// chat_template of tokenizer_config.json: a text, or a list of {name, template}.
Status ReadConfigTemplates(Sources& sources) {
  const auto found = sources.config.find("chat_template");
  if (found == sources.config.end() || found->is_null()) return {};
  const auto wrong = [&] {
    return MakeError(ErrorCode::kCorrupt,
                     "{}: chat_template: expected a string or a list of {{name, template}}",
                     sources.name);
  };
  if (found->is_string()) {
    sources.plain = found->get<std::string>();
    return {};
  }
  if (!found->is_array()) return wrong();
  for (const nlohmann::json& each : *found) {
    const bool whole = each.is_object() && each.contains("name") && each["name"].is_string() &&
                       each.contains("template") && each["template"].is_string();
    if (!whole) return wrong();
    const std::string name = each["name"];
    if (name == "default") sources.plain = each["template"].get<std::string>();
    if (name == "tool_use") sources.with_tools = each["template"].get<std::string>();
  }
  return {};
}

Result<Sources> FindSources(const std::filesystem::path& model) {
  Sources sources;
  std::error_code ignored;
  AWQ_ASSIGN(const auto gguf, io::FindGguf(model));
  std::string config;
  if (gguf && !std::filesystem::exists(model / "tokenizer.json", ignored)) {
    AWQ_ASSIGN(const io::GgufFile file, io::GgufFile::Open(*gguf));
    AWQ_ASSIGN(const TokenizerFiles files, TokenizerFromGguf(file.metadata()));
    sources.name = gguf->string();
    config = files.config;
  } else if (const auto path = model / "tokenizer_config.json";
             std::filesystem::exists(path, ignored)) {
    sources.name = path.string();
    AWQ_ASSIGN(config, io::ReadFile(path, kMostConfigBytes));
  }
  if (!config.empty()) {
    AWQ_ASSIGN(sources.config, io::ParseJson(config, sources.name));
    if (!sources.config.is_object()) {
      return MakeError(ErrorCode::kCorrupt, "{}: expected an object", sources.name);
    }
  }
  AWQ_TRY(ReadConfigTemplates(sources));
  if (const auto path = model / "chat_template.jinja"; std::filesystem::exists(path, ignored)) {
    sources.name = path.string();
    AWQ_ASSIGN(sources.plain, io::ReadFile(path, ChatTemplate::kMostBytes));
    sources.with_tools.reset();
  }
  return sources;
}

}  // namespace

struct ChatTemplate::Parts {
  std::string name;
  jinja::Block plain;
  std::optional<jinja::Block> with_tools;
  std::vector<std::pair<std::string, std::string>> special_tokens;
};

ChatTemplate::ChatTemplate(std::unique_ptr<const Parts> parts) : parts_(std::move(parts)) {}
ChatTemplate::~ChatTemplate() = default;

Result<std::shared_ptr<const ChatTemplate>> ChatTemplate::Parse(std::string_view source,
                                                                const std::string& name) {
  auto parts = std::make_unique<Parts>();
  parts->name = name;
  AWQ_ASSIGN(parts->plain, ParseSource(source, name));
  return std::shared_ptr<const ChatTemplate>(new ChatTemplate(std::move(parts)));
}

Result<std::shared_ptr<const ChatTemplate>> ChatTemplate::Load(const std::filesystem::path& model) {
  AWQ_ASSIGN(const Sources sources, FindSources(model));
  if (!sources.plain) return std::shared_ptr<const ChatTemplate>();
  if (sources.plain->find_first_not_of(" \t\r\n") == std::string::npos) {
    return MakeError(ErrorCode::kUnsupported,
                     "{}: the chat template is empty: expected one that says how a conversation is "
                     "written; awq run without --chat continues a text",
                     sources.name);
  }
  auto parts = std::make_unique<Parts>();
  parts->name = sources.name;
  AWQ_ASSIGN(parts->plain, ParseSource(*sources.plain, sources.name));
  if (sources.with_tools) {
    AWQ_ASSIGN(parts->with_tools, ParseSource(*sources.with_tools, sources.name));
  }
  for (const char* key : kSpecialTokens) {
    const auto found = sources.config.find(key);
    if (found == sources.config.end()) continue;
    const nlohmann::json content =
        found->is_object() ? found->value("content", nlohmann::json()) : *found;
    if (content.is_string()) parts->special_tokens.emplace_back(key, content.get<std::string>());
  }
  return std::shared_ptr<const ChatTemplate>(new ChatTemplate(std::move(parts)));
}

const std::string& ChatTemplate::name() const { return parts_->name; }

Result<std::string> ChatTemplate::Render(const ChatInputs& inputs, const ChatLimits& limits) const {
  jinja::Machine machine(limits, inputs.now_seconds
                                     ? *inputs.now_seconds
                                     : static_cast<std::int64_t>(std::time(nullptr)));
  AWQ_ASSIGN(Value messages, ReadMessages(machine.meter(), inputs.messages, parts_->name));
  Value tools;
  if (!inputs.tools.empty()) {
    AWQ_ASSIGN(tools, jinja::ValueFromJson(inputs.tools, "tools"));
    if (tools.sequence() == nullptr) {
      return MakeError(ErrorCode::kInvalidArgument, "{}: tools are no list", parts_->name);
    }
  }
  Dict variables;
  for (const auto& [key, token] : parts_->special_tokens) {
    AWQ_TRY(variables.Set(Value::Plain(key), Value::Plain(token)));
  }
  AWQ_TRY(variables.Set(Value::Plain("messages"), std::move(messages)));
  AWQ_TRY(variables.Set(Value::Plain("tools"), tools));
  AWQ_TRY(variables.Set(Value::Plain("documents"), Value()));
  AWQ_TRY(
      variables.Set(Value::Plain("add_generation_prompt"), Value(inputs.add_generation_prompt)));
  if (!inputs.variables.empty()) {
    AWQ_ASSIGN(const Value more, jinja::ValueFromJson(inputs.variables, "variables"));
    if (more.dict() == nullptr) {
      return MakeError(ErrorCode::kInvalidArgument, "{}: variables are no object", parts_->name);
    }
    for (const auto& [key, value] : more.dict()->items()) AWQ_TRY(variables.Set(key, value));
  }
  const bool with_tools = parts_->with_tools && !tools.is_none();
  auto text = jinja::Run(with_tools ? *parts_->with_tools : parts_->plain, variables, machine);
  if (!text) return Named(parts_->name, text.error());
  return text;
}

}  // namespace awq::text
