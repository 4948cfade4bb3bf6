#include "text/windows.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

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

WindowOptions Options(std::size_t ctx_tokens, BosMode bos = BosMode::kAuto) {
  WindowOptions options;
  options.ctx_tokens = ctx_tokens;
  options.bos = bos;
  return options;
}

Ids IdsOf(const Result<TokenWindows>& windows) {
  EXPECT_TRUE(windows.ok()) << (windows.ok() ? "" : windows.error().message);
  if (!windows.ok()) return {};
  const auto ids = windows->ids.span();
  return Ids(ids.begin(), ids.end());
}

TEST(WindowsTest, AutoTokenizesOnceAndDropsTheTail) {
  const auto windows = CutWindows(*WithBos(), "xyzxyz", Options(3));
  EXPECT_EQ(IdsOf(windows), Ids({259, 'x', 'y', 'z', 'x', 'y'}));
  EXPECT_EQ(windows->ids.rows(), 2U);
  EXPECT_EQ(windows->ids.cols(), 3U);
  EXPECT_EQ(windows->text_tokens, 7U);
}

TEST(WindowsTest, WindowPutsBosBeforeEach) {
  WindowOptions options = Options(3, BosMode::kWindow);
  EXPECT_EQ(IdsOf(CutWindows(*WithBos(), "xyzxyz", options)),
            Ids({259, 'x', 'y', 259, 'z', 'x', 259, 'y', 'z'}));
  options.bos_token_id = 7;
  EXPECT_EQ(IdsOf(CutWindows(*WithBos(), "xyz", options)), Ids({7, 'x', 'y'}));
}

TEST(WindowsTest, NeverHasNoSpecialTokens) {
  WindowOptions options = Options(2, BosMode::kNever);
  options.max_windows = 2;
  EXPECT_EQ(IdsOf(CutWindows(*WithBos(), "xyzxyz", options)), Ids({'x', 'y', 'z', 'x'}));
}

TEST(WindowsTest, ShortTextsSayHowManyTokensTheyHave) {
  const auto refused = CutWindows(*WithBos(), "xyz", Options(8, BosMode::kWindow));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(refused.error().message.find("3 of the 7 tokens"), std::string::npos)
      << refused.error().message;
  EXPECT_TRUE(CutWindows(*WithBos(), "xyzxyzx", Options(8)).ok());
  EXPECT_FALSE(CutWindows(*WithBos(), "xyzxyz", Options(8)).ok());
  EXPECT_FALSE(CutWindows(*WithBos(), "", Options(8)).ok());
}

TEST(WindowsTest, RefusesWhatCannotBe) {
  const auto plain = MakeTokenizer(TestTokenizerJson());
  EXPECT_FALSE(plain->bos_id().has_value());
  EXPECT_FALSE(CutWindows(*plain, "xyz", Options(2, BosMode::kWindow)).ok());
  EXPECT_FALSE(CutWindows(*plain, "xyz", Options(1)).ok());
  WindowOptions none = Options(2);
  none.max_windows = 0;
  EXPECT_FALSE(CutWindows(*plain, "xyz", none).ok());
}

TEST(WindowsTest, NamedTokens) {
  const auto tokenizer = WithBos();
  EXPECT_EQ(tokenizer->bos_id(), 259);
  EXPECT_EQ(tokenizer->eos_id(), 260);
  EXPECT_FALSE(tokenizer->add_bos_token().has_value());
}

}  // namespace
}  // namespace awq::text
