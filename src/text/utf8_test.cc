#include "text/utf8.h"

#include <gtest/gtest.h>

#include <string>

namespace awq::text {
namespace {

using namespace std::string_literals;

const std::string kFffd(kReplacementUtf8);

TEST(Utf8Test, EveryScalarValueGoesRound) {
  for (char32_t code = 0; code <= 0x10FFFF; ++code) {
    if (code >= 0xD800 && code <= 0xDFFF) continue;
    std::string bytes;
    AppendUtf8(code, bytes);
    ASSERT_EQ(DecodeUtf8(bytes, 0).code, code);
    ASSERT_EQ(DecodeUtf8(bytes, 0).bytes, bytes.size());
    ASSERT_TRUE(IsValidUtf8(bytes));
  }
}

TEST(Utf8Test, ReplacesMaximalPieces) {
  EXPECT_EQ(ReplaceInvalidUtf8("a\xFF"s), "a" + kFffd);
  EXPECT_EQ(ReplaceInvalidUtf8("\xC0\xAF"s), kFffd + kFffd);              // overlong: never a start
  EXPECT_EQ(ReplaceInvalidUtf8("\xE2\x82z"s), kFffd + "z");               // one piece of two bytes
  EXPECT_EQ(ReplaceInvalidUtf8("\xED\xA0\x80"s), kFffd + kFffd + kFffd);  // a surrogate
  EXPECT_EQ(ReplaceInvalidUtf8("\xF4\x90\x80\x80"s), kFffd + kFffd + kFffd + kFffd);
  EXPECT_EQ(ReplaceInvalidUtf8("\xF0\x9F\x98"s), kFffd);  // ends inside
  EXPECT_EQ(ReplaceInvalidUtf8("\xE4\xBD\xA0ok"s), "\xE4\xBD\xA0ok");
  EXPECT_FALSE(IsValidUtf8("12345678\x80"s));
  EXPECT_EQ(StepUtf8("\xF0\x9F"s, 0).kind, Utf8Kind::kTruncated);
}

}  // namespace
}  // namespace awq::text
