// awq_chat_text TEMPLATE: what our interpreter makes of conversations, for
// tools/check_chat_templates.
//
// TEMPLATE is a .jinja file, or a model directory. Each line of standard input is a JSON object of
// texts: messages, tools and variables, which are JSON themselves (so that the order of their keys
// is kept), and add_generation_prompt, now_seconds. Each line of the output is {"text": ...} or
// {"error": ...}.
#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "io/file.h"
#include "text/chat_template.h"

namespace {

using awq::text::ChatTemplate;

awq::Result<std::shared_ptr<const ChatTemplate>> Open(const std::filesystem::path& path) {
  if (std::filesystem::is_directory(path)) return ChatTemplate::Load(path);
  const auto source = awq::io::ReadFile(path);
  if (!source) return source.error();
  return ChatTemplate::Parse(*source, path.string());
}

nlohmann::json Answer(const ChatTemplate& chat_template, const std::string& line) {
  const nlohmann::json request = nlohmann::json::parse(line);
  awq::text::ChatInputs inputs;
  inputs.messages = request.at("messages");
  inputs.tools = request.value("tools", "");
  inputs.variables = request.value("variables", "");
  inputs.add_generation_prompt = request.value("add_generation_prompt", false);
  inputs.now_seconds = request.value("now_seconds", std::int64_t{0});
  const auto text = chat_template.Render(inputs);
  return text ? nlohmann::json{{"text", *text}} : nlohmann::json{{"error", text.error().message}};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    fmt::print(stderr, "usage: awq_chat_text TEMPLATE < REQUESTS\n");
    return 2;
  }
  const auto chat_template = Open(argv[1]);
  for (std::string line; std::getline(std::cin, line);) {
    const bool usable = chat_template.ok() && *chat_template != nullptr;
    const nlohmann::json answer =
        usable ? Answer(**chat_template, line)
               : nlohmann::json{
                     {"error", chat_template ? "no template" : chat_template.error().message}};
    fmt::print("{}\n", answer.dump());
  }
  return 0;
}
