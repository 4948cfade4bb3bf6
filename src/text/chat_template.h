// A model's chat template: messages -> the text that the model was trained on. Templates are Jinja,
// as transformers runs it; docs/chat-templates.md says what of it there is. The interpreter is in
// text/jinja.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "text/jinja/meter.h"

namespace awq::text {

// What a conversation brings along. Texts are JSON.
struct ChatInputs {
  std::string messages;    // a list of objects with "role" and "content"
  std::string tools = {};  // a list of JSON schemas; empty: none
  // An object whose members are variables of the template ("enable_thinking", "documents"), above
  // the model's own (its special tokens); may be empty.
  std::string variables = {};
  bool add_generation_prompt = false;
  std::optional<std::int64_t> now_seconds = std::nullopt;  // since 1970; none: the clock's
};

using ChatLimits = jinja::Limits;

// Immutable; Render may be called from many threads at once.
class ChatTemplate {
 public:
  static constexpr std::size_t kMostBytes = std::size_t{1} << 20;

  // `name` stands in errors. Error: kCorrupt what is no template, kUnsupported what is none that is
  // known here; both say the line.
  static Result<std::shared_ptr<const ChatTemplate>> Parse(std::string_view source,
                                                           const std::string& name);

  // Of a model: chat_template.jinja, else what tokenizer_config.json or the metadata of a GGUF file
  // have under chat_template; of several by name, "tool_use" for a conversation with tools where it
  // is there, else "default". Nothing where the model has none. Error: kUnsupported an empty one;
  // as Parse.
  static Result<std::shared_ptr<const ChatTemplate>> Load(const std::filesystem::path& model);

  // What transformers' apply_chat_template gives, members that are null left out of messages.
  // Error: kInvalidArgument what the template raises or cannot do with these messages,
  // kUnsupported what is beyond the limits; both say the line.
  Result<std::string> Render(const ChatInputs& inputs, const ChatLimits& limits = {}) const;

  // Of the file that it stands in.
  const std::string& name() const;

  ~ChatTemplate();
  ChatTemplate(const ChatTemplate&) = delete;
  ChatTemplate& operator=(const ChatTemplate&) = delete;

 private:
  struct Parts;
  explicit ChatTemplate(std::unique_ptr<const Parts> parts);
  std::unique_ptr<const Parts> parts_;
};

}  // namespace awq::text
