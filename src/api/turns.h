// Messages -> the text that a model's chat template makes of them.
#pragma once

#include <awq/awq.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "text/chat_template.h"

namespace awq::api {

// Error: kUnsupported for a model without a template.
Result<std::shared_ptr<const text::ChatTemplate>> LoadChatTemplate(
    const std::filesystem::path& model);

// Up to where the model's answer begins.
Result<std::string> RenderTurns(const text::ChatTemplate& chat_template,
                                const std::vector<ChatMessage>& messages);

// A JSON list of {"role", "content"} and back. Error: anything else; texts that are no UTF-8.
std::string MessagesToJson(const std::vector<ChatMessage>& messages);
Result<std::vector<ChatMessage>> MessagesFromJson(const std::string& json, const std::string& name);

}  // namespace awq::api
