#include "eval/task_prompts.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace awq::eval {
namespace {

Result<ItemText> Read(const nlohmann::json& json) {
  const auto line = text::JsonNode::Root(json, "task.jsonl:3");
  const auto form = FormOf(line);
  if (!form) return form.error();
  return ReadItem(line, *form);
}

nlohmann::json Question() {
  return {{"query", "Question: Which?"}, {"choices", {"this", "caf\u00e9"}}, {"gold", 1}};
}

nlohmann::json HellaSwag() {
  return {{"activity_label", "Baking"},
          {"ctx_a", "[header] How to bake [title] Mix  it."},
          {"ctx_b", "then Mary"},
          {"ctx", "ignored"},
          {"endings", {"[step] eats.", "sleeps [substeps] long.", "goes."}},
          {"label", 2}};
}

nlohmann::json Winogrande() {
  return {{"context_options", {"A likes B, so A", "A likes B, so B "}},
          {"continuation", " is liked. "},
          {"gold", 0}};
}

TEST(TaskPrompts, AQuestionIsAskedAsTheHarnessDoes) {
  const auto item = Read(Question());
  ASSERT_TRUE(item) << item.error().message;
  EXPECT_EQ(item->gold, 1U);
  ASSERT_EQ(item->choices.size(), 2U);
  EXPECT_EQ(item->choices[0].context, "Question: Which?\nAnswer:");
  EXPECT_EQ(item->choices[0].continuation, " this");
  EXPECT_EQ(item->choices[1].continuation, " caf\u00e9");
  EXPECT_EQ(item->choices[1].characters, 4U);  // not the 5 bytes
}

TEST(TaskPrompts, HellaSwagIsCleaned) {
  const auto item = Read(HellaSwag());
  ASSERT_TRUE(item) << item.error().message;
  EXPECT_EQ(item->gold, 2U);
  ASSERT_EQ(item->choices.size(), 3U);
  // The mark leaves its spaces, of which two become one.
  EXPECT_EQ(item->choices[0].context, "Baking: How to bake. Mix it. Then mary");
  EXPECT_EQ(item->choices[0].continuation, "  eats.");
  EXPECT_EQ(item->choices[0].characters, 6U);  // the space that the mark left counts
  EXPECT_EQ(item->choices[1].continuation, " sleeps long.");
  EXPECT_EQ(item->choices[2].characters, 5U);
}

TEST(TaskPrompts, WinograndeScoresWhatFollowsTheBlank) {
  const auto item = Read(Winogrande());
  ASSERT_TRUE(item) << item.error().message;
  ASSERT_EQ(item->choices.size(), 2U);
  EXPECT_EQ(item->choices[0].context, "A likes B, so A");
  EXPECT_EQ(item->choices[0].continuation, " is liked.");
  EXPECT_EQ(item->choices[1].context, "A likes B, so B");
  EXPECT_EQ(item->choices[1].continuation, "  is liked.");  // the context's last space
  EXPECT_EQ(item->choices[1].characters, 9U);
}

TEST(TaskPrompts, WhatIsReported) {
  EXPECT_EQ(ReportedMeasure(TaskForm::kQuestion), Measure::kAccNorm);
  EXPECT_EQ(ReportedMeasure(TaskForm::kHellaSwag), Measure::kAccNorm);
  EXPECT_EQ(ReportedMeasure(TaskForm::kWinogrande), Measure::kAcc);
  EXPECT_EQ(Name(Measure::kAcc), "acc");
  EXPECT_EQ(Name(Measure::kAccNorm), "acc_norm");
  EXPECT_EQ(Name(TaskForm::kHellaSwag), "hellaswag");
}

TEST(TaskPrompts, MarksThatGoAndBracketsThatStay) {
  EXPECT_EQ(WithoutMarks(" \u00a0a [title] b [step] c \x1f"), "a. b c");
  EXPECT_EQ(WithoutMarks("a [b [c] d] e"), "a d] e");  // from the first [ to the first ]
  EXPECT_EQ(WithoutMarks("a [b\nc] [d]e"), "a [b\nc] e");
  EXPECT_EQ(WithoutMarks("a [b"), "a [b");
  EXPECT_EQ(WithoutMarks("a    b"), "a  b");  // pairs, once
  EXPECT_EQ(WithoutMarks("[]"), "");
  EXPECT_EQ(WithoutMarks(" \t\n"), "");
  const std::string open(200000, '[');  // in linear time
  EXPECT_EQ(WithoutMarks(open), open);
}

TEST(TaskPrompts, CapitalizeIsPythons) {
  EXPECT_EQ(Capitalize(""), "");
  EXPECT_EQ(Capitalize("a Man And BOB"), "A man and bob");
  EXPECT_EQ(Capitalize("\u00e9T\u00c9"), "\u00c9t\u00e9");
  EXPECT_EQ(Capitalize("\u01c6A"), "\u01c5a");  // dz with caron: title case, not upper case
}

void ExpectRefused(const nlohmann::json& json, const std::string& part) {
  const auto item = Read(json);
  ASSERT_FALSE(item) << part;
  EXPECT_EQ(item.error().code, ErrorCode::kCorrupt);
  EXPECT_NE(item.error().message.find(part), std::string::npos) << item.error().message;
  EXPECT_EQ(item.error().message.find("task.jsonl:3: "), 0U) << item.error().message;
}

nlohmann::json With(nlohmann::json json, const std::string& key, nlohmann::json value) {
  json[key] = std::move(value);
  return json;
}

TEST(TaskPrompts, AnUnknownFormNamesWhatIsThereAndWhatWasExpected) {
  ExpectRefused({{"question", "Which?"}, {"answer", "this"}},
                "its members: \"answer\", \"question\"");
  ExpectRefused({{"question", "Which?"}}, "\"query\" \"choices\" \"gold\" (ARC, PIQA)");
  ExpectRefused({{"question", "Which?"}}, "\"context_options\"");
  ExpectRefused(With(Question(), "gold", nullptr), "no known form");
  ExpectRefused(nlohmann::json::object(), "its members: none");
  ExpectRefused({1, 2}, "expected an object");
  nlohmann::json many;
  for (int i = 0; i < 1000; ++i) many["key" + std::to_string(i)] = i;
  ExpectRefused(many, ", ...; expected");
}

TEST(TaskPrompts, RefusesMembersOfTheWrongKind) {
  ExpectRefused(With(Question(), "query", "Which?"), "begins with \"Question: \"");
  ExpectRefused(With(Question(), "query", 1), "query: expected a string");
  ExpectRefused(With(Question(), "choices", {"one"}), "choices: expected 2 to 26 choices");
  ExpectRefused(With(Question(), "choices", std::vector<std::string>(27, "x")), "2 to 26");
  ExpectRefused(With(Question(), "choices", {"a", 2}), "choices[1]: expected a string");
  ExpectRefused(With(Question(), "choices", {"a", " "}), "not empty");
  ExpectRefused(With(Question(), "gold", 2), "gold: expected an integer from 0 to 1");
  ExpectRefused(With(Question(), "gold", -1), "from 0 to 1");
  ExpectRefused(With(Question(), "gold", "1"), "from 0 to 1");
  ExpectRefused(With(HellaSwag(), "label", 3), "label: expected an integer from 0 to 2");
  ExpectRefused(With(HellaSwag(), "endings", {"a", "[b]"}), "nothing but brackets");
  ExpectRefused(With(HellaSwag(), "ctx_b", 1), "ctx_b: expected a string");
  ExpectRefused(With(Winogrande(), "continuation", " "), "not empty");
  ExpectRefused(With(Winogrande(), "context_options", {"", "b"}), "not empty");
}

}  // namespace
}  // namespace awq::eval
