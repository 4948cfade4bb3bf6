#include "text/windows.h"

#include <gtest/gtest.h>

#include "text/test_tokenizer.h"

namespace awq::text {
namespace {

using Ids = std::vector<std::int32_t>;
constexpr const char* kConfig = R"({"bos_token": "<s>", "eos_token": {"content": "</s>"}})";

std::shared_ptr<const Tokenizer> WithBos() {
  nlohmann::json json = TestTokenizerJson();
  json["post_processor"] = nlohmann::json::parse(R"({"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A"}}],
      "special_tokens": {"<s>": {"id": "<s>", "ids": [259], "tokens": ["<s>"]}}})");
  return MakeTokenizer(json, kConfig);
}

TEST(WindowsTest, AutoTokenizesOnceAndDropsTheTail) {
  const auto windows = CutWindows(*WithBos(), "xyzxyz", {.context_tokens = 3});
  ASSERT_TRUE(windows.ok());
  EXPECT_EQ(windows->count, 2U);
  EXPECT_EQ(windows->ids, Ids({259, 'x', 'y', 'z', 'x', 'y'}));
  EXPECT_EQ(windows->window(1)[0], 'z');
}

TEST(WindowsTest, WindowPutsBosBeforeEach) {
  const auto windows =
      CutWindows(*WithBos(), "xyzxyz", {.context_tokens = 3, .bos = BosMode::kWindow});
  ASSERT_TRUE(windows.ok());
  EXPECT_EQ(windows->ids, Ids({259, 'x', 'y', 259, 'z', 'x', 259, 'y', 'z'}));
}

TEST(WindowsTest, NeverHasNoSpecialTokens) {
  const auto windows = CutWindows(*WithBos(), "xyzxyz",
                                  {.context_tokens = 2, .bos = BosMode::kNever, .max_windows = 2});
  ASSERT_TRUE(windows.ok());
  EXPECT_EQ(windows->ids, Ids({'x', 'y', 'z', 'x'}));
}

TEST(WindowsTest, ShortTexts) {
  WindowOptions options{.context_tokens = 8, .bos = BosMode::kWindow};
  const auto refused = CutWindows(*WithBos(), "xyz", options);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(refused.error().message.find("3 tokens"), std::string::npos) << refused.error().message;
  options.accept_short = true;
  const auto accepted = CutWindows(*WithBos(), "xyz", options);
  ASSERT_TRUE(accepted.ok());
  EXPECT_EQ(accepted->context_tokens, 4U);
  EXPECT_EQ(accepted->ids, Ids({259, 'x', 'y', 'z'}));
  EXPECT_FALSE(CutWindows(*WithBos(), "", options).ok());
}

TEST(WindowsTest, RefusesWhatCannotBe) {
  const auto plain = MakeTokenizer(TestTokenizerJson());
  EXPECT_FALSE(plain->bos_id().has_value());
  EXPECT_FALSE(CutWindows(*plain, "xyz", {.context_tokens = 2, .bos = BosMode::kWindow}).ok());
  EXPECT_FALSE(CutWindows(*plain, "xyz", {.context_tokens = 1}).ok());
  EXPECT_FALSE(CutWindows(*plain, "xyz", {.context_tokens = 2, .max_windows = 0}).ok());
}

TEST(WindowsTest, NamedTokens) {
  const auto tokenizer = WithBos();
  EXPECT_EQ(tokenizer->bos_id(), 259);
  EXPECT_EQ(tokenizer->eos_id(), 260);
  EXPECT_FALSE(tokenizer->add_bos_token().has_value());
}

}  // namespace
}  // namespace awq::text
