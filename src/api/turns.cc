#include "api/turns.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "io/json.h"

namespace awq::api {

Result<std::shared_ptr<const text::ChatTemplate>> LoadChatTemplate(
    const std::filesystem::path& model) {
  AWQ_ASSIGN(auto found, text::ChatTemplate::Load(model));
  if (found != nullptr) return found;
  return MakeError(
      ErrorCode::kUnsupported,
      "{}: the model has no chat template: expected chat_template.jinja, chat_template "
      "in tokenizer_config.json, or tokenizer.chat_template in a GGUF file; awq run "
      "without --chat continues a text",
      model.string());
}

Result<std::string> RenderTurns(const text::ChatTemplate& chat_template,
                                const std::vector<ChatMessage>& messages) {
  text::ChatInputs inputs;
  inputs.messages = MessagesToJson(messages);
  inputs.add_generation_prompt = true;
  AWQ_ASSIGN(std::string text, chat_template.Render(inputs));
  if (!text.empty()) return text;
  return MakeError(ErrorCode::kUnsupported,
                   "{}: the chat template makes no text at all of {} message{}: it does not write "
                   "what it is given; awq run without --chat continues a text",
                   chat_template.name(), messages.size(), messages.size() == 1 ? "" : "s");
}

std::string MessagesToJson(const std::vector<ChatMessage>& messages) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const ChatMessage& each : messages) {
    list.push_back({{"role", each.role}, {"content", each.content}});
  }
  return list.dump(1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

Result<std::vector<ChatMessage>> MessagesFromJson(const std::string& json,
                                                  const std::string& name) {
  AWQ_ASSIGN(const nlohmann::json list, io::ParseJson(json, name));
  std::vector<ChatMessage> messages;
  const auto is_text = [](const nlohmann::json& message, const char* key) {
    const auto found = message.find(key);
    return found != message.end() && found->is_string();
  };
  for (const nlohmann::json& each : list) {
    if (!list.is_array() || !each.is_object() || !is_text(each, "role") ||
        !is_text(each, "content")) {
      return MakeError(ErrorCode::kCorrupt,
                       "{}: expected a list of {{\"role\": text, \"content\": text}}, as /save "
                       "writes it",
                       name);
    }
    messages.push_back({each["role"], each["content"]});
  }
  return messages;
}

}  // namespace awq::api
