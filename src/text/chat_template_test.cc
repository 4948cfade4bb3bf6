#include "text/chat_template.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <sstream>
#include <vector>

#include "base/error.h"
#include "io/file.h"
#include "io/json.h"
#include "testing/paths.h"

namespace awq::text {
namespace {

using nlohmann::json;

ChatInputs InputsOf(const json& request) {
  return {.messages = request.at("messages"),
          .tools = request.at("tools"),
          .variables = request.at("variables"),
          .add_generation_prompt = request.at("add_generation_prompt"),
          .now_seconds = request.at("now_seconds")};
}

Result<std::string> RenderSource(const std::string& source, const ChatInputs& inputs,
                                 const ChatLimits& limits = {}) {
  AWQ_ASSIGN(const auto chat_template, ChatTemplate::Parse(source, "t.jinja"));
  return chat_template->Render(inputs, limits);
}

Result<std::string> RenderHello(const std::string& source, const ChatLimits& limits = {}) {
  return RenderSource(source, {.messages = R"([{"role": "user", "content": "Hello"}])"}, limits);
}

// What transformers made of our templates (tools/make_chat_template_golden.py).
class ChatTemplateGolden : public ::testing::Test {
 protected:
  void SetUp() override {
    setenv("TZ", "UTC", 1);
    const auto golden = io::ReadJson(folder_ / "expected.json");
    ASSERT_TRUE(golden.ok()) << golden.error().message;
    golden_ = *golden;
  }
  void Compare(const std::string& source, const std::string& conversation, const json& expected) {
    const auto text = RenderSource(source, InputsOf(golden_.at("conversations").at(conversation)));
    if (expected.is_null()) {
      EXPECT_FALSE(text.ok()) << source << "\ngave: " << *text;
    } else {
      ASSERT_TRUE(text.ok()) << source << '\n' << text.error().message;
      EXPECT_EQ(*text, expected.get<std::string>()) << source << '\n' << conversation;
    }
  }
  const std::filesystem::path folder_ = testing::GoldenDir() / "chat_templates";
  json golden_;
};

TEST_F(ChatTemplateGolden, Lines) {
  const auto file = io::ReadFile(folder_ / "lines.txt");
  ASSERT_TRUE(file.ok());
  std::istringstream lines(*file);
  std::size_t count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    ASSERT_LT(count, golden_.at("lines").size());
    Compare(line, "system, turns", golden_.at("lines")[count]);
  }
  EXPECT_EQ(count, golden_.at("lines").size());
}

TEST_F(ChatTemplateGolden, WholeTemplates) {
  ASSERT_FALSE(golden_.at("templates").empty());
  for (const auto& [file, cases] : golden_.at("templates").items()) {
    const auto source = io::ReadFile(folder_ / file);
    ASSERT_TRUE(source.ok()) << file;
    for (const auto& [conversation, expected] : cases.items()) {
      Compare(*source, conversation, expected);
    }
  }
}

TEST(ChatTemplate, ErrorsSayFileAndLine) {
  const auto syntax = ChatTemplate::Parse("a\n{% if %}", "t.jinja");
  ASSERT_FALSE(syntax.ok());
  EXPECT_EQ(syntax.error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(syntax.error().message, "t.jinja: line 2: expected an expression, found %}");

  const auto raised = RenderHello("\n\n{{ raise_exception('not so') }}");
  ASSERT_FALSE(raised.ok());
  EXPECT_EQ(raised.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(raised.error().message,
            "t.jinja: line 3: the template refuses this conversation: not so");

  const auto undefined = RenderHello("{{ messages[0].name.first }}");
  ASSERT_FALSE(undefined.ok());
  EXPECT_EQ(undefined.error().message, "t.jinja: line 1: a dict has no name");
}

TEST(ChatTemplate, RefusesWhatIsNoConversation) {
  const std::string source = "{{ messages | length }}";
  for (const std::string messages : {"", "{", "{}", "[]", "[1]", "[[]]", "[{\"a\": 1e}]", "\"x\"",
                                     "[{\"a\": 123456789012345678901234567890}]"}) {
    EXPECT_FALSE(RenderSource(source, {.messages = messages}).ok()) << messages;
  }
  const std::string hello = R"([{"role": "user", "content": "Hello"}])";
  EXPECT_TRUE(RenderSource(source, {.messages = hello}).ok());
  EXPECT_FALSE(RenderSource(source, {.messages = hello, .tools = "{}"}).ok());
  EXPECT_FALSE(RenderSource(source, {.messages = hello, .variables = "[]"}).ok());
  std::string deep;
  for (int i = 0; i < 200; ++i) deep += '[';
  EXPECT_FALSE(RenderSource(source, {.messages = deep}).ok());
}

void RefusesBeyond(const std::string& source, const std::string& says) {
  ChatLimits limits;
  limits.steps = 1'000'000;
  limits.text_bytes = 1 << 20;
  limits.total_bytes = 1 << 26;
  const auto text = RenderHello(source, limits);
  ASSERT_FALSE(text.ok()) << source;
  EXPECT_EQ(text.error().code, ErrorCode::kUnsupported) << source << text.error().message;
  EXPECT_NE(text.error().message.find(says), std::string::npos) << source << text.error().message;
}

TEST(ChatTemplate, IsBounded) {
  const std::string loops = "{% for a in range(9999) %}{% for b in range(9999) %}";
  RefusesBeyond(loops + "{% endfor %}{% endfor %}", "steps");
  RefusesBeyond(loops + "{{ 'abcdefgh' * 100 }}{% endfor %}{% endfor %}", "bytes");
  RefusesBeyond("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "deeper");
  RefusesBeyond("{% for a in [1] recursive %}{{ loop([1]) }}{% endfor %}", "deeper");
  RefusesBeyond("{{ 'a' * 99999999999 }}", "bytes");
  RefusesBeyond("{{ [1] * 99999999999 }}", "steps");
  RefusesBeyond("{{ 'a'.center(99999999999) }}", "bytes");
  RefusesBeyond("{{ 'a' | indent(99999999999, true) }}", "bytes");
  RefusesBeyond("{{ '%999999999s' % 1 }}", "format");
  RefusesBeyond("{{ [[1]] | tojson(indent=99999999999) }}", "bytes");
  RefusesBeyond("{{ ('a' * 100000).replace('a', 'b' * 100000) }}", "bytes");
  RefusesBeyond("{{ ('b' * 100000).join('a' * 100000) }}", "bytes");
  RefusesBeyond("{{ ('a' * 1000000).rfind('b' * 500000) }}", "steps");
  RefusesBeyond("{{ 9223372036854775807 + 1 }}", "64 bits");
  RefusesBeyond("{{ 2 ** 64 }}", "64 bits");
  RefusesBeyond("{{ range(100001) | list }}", "range");
  RefusesBeyond("{{ strftime_now('%99999d') }}", "strftime_now");
  const std::string grow = "{% set n = namespace(v=1) %}{% for i in range(999) %}";
  RefusesBeyond(grow + "{% set n.v = [n.v] %}{% endfor %}", "deeper");
  RefusesBeyond(grow + "{% set n.v = {'a': n.v} %}{% endfor %}", "deeper");
  RefusesBeyond(grow + "{% set n.v = [[n.v].count] %}{% endfor %}", "deeper");
  RefusesBeyond(
      "{% set n = namespace(v='ab') %}{% for i in range(99) %}{% set n.v = n.v + n.v %}"
      "{% endfor %}",
      "bytes");
  RefusesBeyond("{% set n = namespace() %}{% set n.n = n %}{{ n }}", "holds itself");
}

TEST(ChatTemplate, NestingOfTheSourceIsBounded) {
  for (const auto& [open, close] :
       std::vector<std::pair<std::string, std::string>>{{"(", ")"},
                                                        {"[", "]"},
                                                        {"{1:", "}"},
                                                        {"not ", ""},
                                                        {"-", ""},
                                                        {"1 if 1 else ", ""},
                                                        {"x[", "]"},
                                                        {"x(", ")"}}) {
    std::string source = "{{ ";
    for (int i = 0; i < 5000; ++i) source += open;
    source += "1";
    for (int i = 0; i < 5000; ++i) source += close;
    const auto parsed = ChatTemplate::Parse(source + " }}", "t.jinja");
    ASSERT_FALSE(parsed.ok()) << open;
    EXPECT_EQ(parsed.error().code, ErrorCode::kUnsupported) << open;
  }
  std::string statements;
  for (int i = 0; i < 5000; ++i) statements += "{% if 1 %}";
  EXPECT_FALSE(ChatTemplate::Parse(statements, "t.jinja").ok());
  std::string chain = "{{ x";
  for (int i = 0; i < 5000; ++i) chain += "|upper";
  EXPECT_FALSE(ChatTemplate::Parse(chain + " }}", "t.jinja").ok());
  EXPECT_FALSE(ChatTemplate::Parse(std::string(ChatTemplate::kMostBytes + 1, 'x'), "t").ok());
  EXPECT_FALSE(ChatTemplate::Parse("\xFF", "t").ok());
}

// A sum is not nested, however long.
TEST(ChatTemplate, LongChainsAreTaken) {
  std::string source = "{{ 1";
  for (int i = 0; i < 5000; ++i) source += " + 1";
  const auto text = RenderHello(source + " }}");
  ASSERT_TRUE(text.ok()) << text.error().message;
  EXPECT_EQ(*text, "5001");
}

// What escapes from where it was made is refused or kept, and nothing leaks (under ASan).
TEST(ChatTemplate, NothingOutlivesItsRendering) {
  EXPECT_FALSE(RenderHello("{% set n = namespace() %}{% for i in [1] %}{% macro m() %}{{ i }}"
                           "{% endmacro %}{% set n.m = m %}{% endfor %}{{ n.m() }}")
                   .ok());
  const auto kept = RenderHello(
      "{% set n = namespace() %}{% for i in [1, 2] %}{{ loop.changed(loop) }}{% set n.l = loop %}"
      "{% endfor %}{{ n.l.index }}{% set n.n = n %}{% set n.g = n.l.cycle %}");
  ASSERT_TRUE(kept.ok()) << kept.error().message;
  EXPECT_EQ(*kept, "TrueFalse2");
}

TEST(ChatTemplate, IsFoundWithAModel) {
  const testing::TemporaryDirectory model;
  const auto write = [&](const char* name, const std::string& text) {
    ASSERT_TRUE(io::WriteFileAtomically(model.path() / name, text).ok());
  };
  const ChatInputs plain{.messages = R"([{"role": "user", "content": "Hello"}])"};
  ChatInputs with_tools = plain;
  with_tools.tools = "[{}]";
  const auto render = [&](const ChatInputs& inputs) {
    const auto found = ChatTemplate::Load(model.path());
    EXPECT_TRUE(found.ok()) << found.error().message;
    const auto text = (*found)->Render(inputs);
    EXPECT_TRUE(text.ok()) << text.error().message;
    return *text;
  };
  const auto none = ChatTemplate::Load(model.path());
  ASSERT_TRUE(none.ok());
  EXPECT_EQ(*none, nullptr);

  write("tokenizer_config.json", R"({"chat_template": "{{ bos_token }}1{{ eos_token }}",
        "bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": false}, "pad_token": null})");
  EXPECT_EQ(render(plain), "<s>1</s>");
  write("tokenizer_config.json", R"({"chat_template": [{"name": "default", "template": "one"},
        {"name": "tool_use", "template": "tools"}, {"name": "other", "template": "{% if %}"}]})");
  EXPECT_EQ(render(plain), "one");
  EXPECT_EQ(render(with_tools), "tools");
  write("chat_template.jinja", "file");
  EXPECT_EQ(render(plain), "file");
  EXPECT_EQ(render(with_tools), "file");

  write("chat_template.jinja", " \n");
  const auto empty = ChatTemplate::Load(model.path());
  ASSERT_FALSE(empty.ok());
  EXPECT_NE(empty.error().message.find("chat_template.jinja: the chat template is empty"),
            std::string::npos);

  std::filesystem::remove(model.path() / "chat_template.jinja");
  write("tokenizer_config.json", R"({"chat_template": [{"name": "default"}]})");
  EXPECT_FALSE(ChatTemplate::Load(model.path()).ok());
}

TEST(ChatTemplate, OfRealModelsMakesATurn) {
  AWQ_NEEDS_DATA("tokenizers/qwen2_5/tokenizer_config.json");
  const auto found = ChatTemplate::Load(testing::DataDir() / "tokenizers" / "qwen2_5");
  ASSERT_TRUE(found.ok()) << found.error().message;
  const auto text = (*found)->Render(
      {.messages = R"([{"role": "system", "content": "S"}, {"role": "user", "content": "Hello"}])",
       .add_generation_prompt = true});
  ASSERT_TRUE(text.ok()) << text.error().message;
  EXPECT_EQ(*text,
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n"
            "<|im_start|>assistant\n");
}

}  // namespace
}  // namespace awq::text
