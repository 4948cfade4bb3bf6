#include "eval/tasks.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "testing/paths.h"
#include "text/test_tokenizer.h"

namespace awq::eval {
namespace {

using text::BosMode;

constexpr std::int32_t kBos = 259;
constexpr std::int32_t kEos = 260;

// "x abc" and "y abc" by the test tokenizer: a byte, the space, "abc".
const std::string kLine = R"({"context_options": ["x", "yy "], "continuation": "abc", "gold": 1})"
                          "\n";

// Puts <s> before a text and </s> after it.
std::shared_ptr<const text::Tokenizer> WithSpecialTokens() {
  nlohmann::json json = text::TestTokenizerJson();
  const auto special = [](const char* id) {
    return nlohmann::json{{"SpecialToken", {{"id", id}, {"type_id", 0}}}};
  };
  const nlohmann::json text = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  const auto named = [](const char* id, int number) {
    return nlohmann::json{{"id", id}, {"ids", {number}}, {"tokens", {id}}};
  };
  json["post_processor"] = {
      {"type", "TemplateProcessing"},
      {"single", {special("<s>"), text, special("</s>")}},
      {"pair", nlohmann::json::array()},
      {"special_tokens", {{"<s>", named("<s>", kBos)}, {"</s>", named("</s>", kEos)}}}};
  return text::MakeTokenizer(json);
}

class Tasks : public ::testing::Test {
 protected:
  Result<Task> Read(const std::string& content, const TaskOptions& options) {
    const auto path = directory_.path() / "task.jsonl";
    std::ofstream(path, std::ios::binary) << content;
    return ReadTask(path, *tokenizer_, options);
  }

  void ExpectRefused(const std::string& content, const TaskOptions& options, ErrorCode code,
                     const std::string& part) {
    const auto task = Read(content, options);
    ASSERT_FALSE(task) << part;
    EXPECT_EQ(task.error().code, code);
    EXPECT_NE(task.error().message.find(part), std::string::npos) << task.error().message;
  }

  testing::TemporaryDirectory directory_;
  std::shared_ptr<const text::Tokenizer> tokenizer_ =
      text::MakeTokenizer(text::TestTokenizerJson());
};

using Tokens = std::vector<std::int32_t>;

TEST_F(Tasks, ContextAndChoiceAreTokenizedTogether) {
  const auto task = Read(kLine, {.bos = BosMode::kNever});
  ASSERT_TRUE(task) << task.error().message;
  EXPECT_EQ(task->form, TaskForm::kWinogrande);
  ASSERT_EQ(task->items.size(), 1U);
  const TaskItem& item = task->items[0];
  EXPECT_EQ(item.line, 1U);
  EXPECT_EQ(item.gold, 1U);
  ASSERT_EQ(item.sequences.size(), 2U);
  EXPECT_EQ(item.sequences[0].tokens, Tokens({'x', ' ', 257}));
  EXPECT_EQ(item.sequences[0].scored_from, 1U);
  EXPECT_EQ(item.sequences[0].characters, 3U);
  EXPECT_EQ(item.sequences[0].inputs().size(), 2U);
  // The context's space is the choice's.
  EXPECT_EQ(item.sequences[1].tokens, Tokens({'y', 'y', ' ', ' ', 257}));
  EXPECT_EQ(item.sequences[1].scored_from, 2U);
  EXPECT_EQ(InputTokens(task->items), 2U + 4U);
  EXPECT_EQ(task->truncated_sequences, 0U);
}

TEST_F(Tasks, BosComesFirstWhereItIsAskedFor) {
  const auto first = [&](const TaskOptions& options) {
    const auto task = Read(kLine, options);
    EXPECT_TRUE(task) << task.error().message;
    return task->items.at(0).sequences.at(0);
  };
  EXPECT_EQ(first({.bos = BosMode::kAuto}).tokens, Tokens({'x', ' ', 257}));
  EXPECT_EQ(first({.bos = BosMode::kWindow, .bos_token_id = 7}).tokens, Tokens({7, 'x', ' ', 257}));
  ExpectRefused(kLine, {.bos = BosMode::kWindow}, ErrorCode::kInvalidArgument, "BOS");
  tokenizer_ = WithSpecialTokens();
  // What the tokenizer puts after a text is no part of a choice.
  EXPECT_EQ(first({.bos = BosMode::kAuto}).tokens, Tokens({kBos, 'x', ' ', 257}));
  EXPECT_EQ(first({.bos = BosMode::kAuto}).scored_from, 2U);
  EXPECT_EQ(first({.bos = BosMode::kWindow}).tokens, Tokens({kBos, 'x', ' ', 257}));
  EXPECT_EQ(first({.bos = BosMode::kNever}).tokens, Tokens({'x', ' ', 257}));
}

TEST_F(Tasks, LongContextsLoseTheirBeginning) {
  const std::string line = R"({"context_options": ["xyz", "z"], "continuation": "abc", "gold": 0})";
  const auto task = Read(line, {.bos = BosMode::kNever, .max_tokens = 3});
  ASSERT_TRUE(task) << task.error().message;
  EXPECT_EQ(task->truncated_sequences, 1U);
  const TaskSequence& cut = task->items[0].sequences[0];
  EXPECT_EQ(cut.tokens, Tokens({'y', 'z', ' ', 257}));
  EXPECT_EQ(cut.scored_from, 2U);
  EXPECT_EQ(cut.inputs().size(), 3U);
  EXPECT_EQ(task->items[0].sequences[1].tokens, Tokens({'z', ' ', 257}));
  // Two tokens of the choice, and one before them: the choice's last is not run.
  const auto least = Read(line, {.bos = BosMode::kNever, .max_tokens = 2});
  ASSERT_TRUE(least) << least.error().message;
  EXPECT_EQ(least->items[0].sequences[0].tokens, Tokens({'z', ' ', 257}));
  EXPECT_EQ(least->items[0].sequences[0].scored_from, 1U);
  ExpectRefused(line, {.bos = BosMode::kNever, .max_tokens = 1}, ErrorCode::kInvalidArgument,
                "task.jsonl:1: a choice of 2 tokens");
}

TEST_F(Tasks, BlankLinesAreNoItemsAndWhatIsNotAskedForIsNotRead) {
  const std::string content = kLine + "\r\n \n" + kLine + "no JSON\n";
  const auto task = Read(content, {.max_items = 2});
  ASSERT_TRUE(task) << task.error().message;
  ASSERT_EQ(task->items.size(), 2U);
  EXPECT_EQ(task->items[1].line, 4U);
  ExpectRefused(content, {}, ErrorCode::kCorrupt, "task.jsonl:5: not valid JSON");
}

TEST_F(Tasks, RefusesFilesThatAreNoTasks) {
  ExpectRefused("", {}, ErrorCode::kCorrupt, "holds no items");
  ExpectRefused("\n\n", {}, ErrorCode::kCorrupt, "holds no items");
  ExpectRefused(kLine, {.max_items = 0}, ErrorCode::kInvalidArgument, "0 items");
  ExpectRefused(kLine + R"({"text": "x"})", {}, ErrorCode::kCorrupt, "task.jsonl:2: a task of no");
  ExpectRefused(kLine + R"({"query": "Question: ?", "choices": ["a", "b"], "gold": 0})", {},
                ErrorCode::kCorrupt, "form question among those of form winogrande");
  ExpectRefused("\"" + std::string(300000, 'x') + "\"", {}, ErrorCode::kCorrupt,
                "at most 262144 bytes, found 300002");
  EXPECT_FALSE(ReadTask(directory_.path() / "absent.jsonl", *tokenizer_, {}));
}

TEST_F(Tasks, AChoiceNeedsSomethingBeforeIt) {
  const std::string line =
      R"({"activity_label": "[", "ctx_a": "]", "ctx_b": "", "endings": ["a", "b"], "label": 0})";
  ExpectRefused(line, {.bos = BosMode::kNever}, ErrorCode::kCorrupt, "found 0 and");
  const auto task = Read(line, {.bos = BosMode::kWindow, .bos_token_id = kBos});
  ASSERT_TRUE(task) << task.error().message;
  EXPECT_EQ(task->items[0].sequences[0].scored_from, 1U);
}

}  // namespace
}  // namespace awq::eval
