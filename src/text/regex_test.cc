#include "text/regex.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "text/matches.h"
#include "text/regex_syntax.h"

namespace awq::text {
namespace {

std::vector<std::string> Matches(std::string_view pattern, const std::string& text) {
  std::vector<std::string> found;
  const nlohmann::json json = {{"Regex", pattern}};
  const auto regex = Pattern::FromJson(JsonNode(json, "test"));
  EXPECT_TRUE(regex.ok()) << (regex.ok() ? "" : regex.error().message);
  if (!regex.ok()) return found;
  RegexScratch scratch;
  scratch.ResetBudget(text.size());
  const Status status = VisitMatches(*regex, text, scratch,
                                     [&](std::size_t start, std::size_t end, bool match) -> Status {
                                       if (match) found.push_back(text.substr(start, end - start));
                                       return {};
                                     });
  EXPECT_TRUE(status.ok()) << (status.ok() ? "" : status.error().message);
  return found;
}

using Words = std::vector<std::string>;

// Expected: what Oniguruma 6.9.10 gives, through the package.
TEST(RegexTest, FollowsOnigurumaWherePcre2Differs) {
  EXPECT_EQ(Matches("\\s", "\u180E\u3000"), Words({"\u3000"}));    // PCRE2's \s has U+180E
  EXPECT_EQ(Matches("a{2}+", "aaaaa"), Words({"aaaa"}));           // not possessive: a repeat
  EXPECT_EQ(Matches("a(?i)b|c", "aB C ac"), Words({"aB", "ac"}));  // the rest of the group
  EXPECT_EQ(Matches("(?m:a.)", "a\nab"), Words({"a\n", "ab"}));
  EXPECT_EQ(Matches("x$", "x\nx"), Words({"x", "x"}));
  EXPECT_EQ(Matches("[a-z&&[^aeiou]]+", "abcde"), Words({"bcd"}));
  EXPECT_EQ(Matches("[a[0-9]]+", "a1b2"), Words({"a1", "2"}));
  EXPECT_EQ(Matches("\\h+", "xyzdead"), Words({"dead"}));
  EXPECT_EQ(Matches("[]a]+", "]a"), Words({"]a"}));
  EXPECT_EQ(Matches("\\p{Han}", "\u4E2D\u3001"), Words({"\u4E2D"}));  // not script extensions
  EXPECT_EQ(Matches("\\p{L}", "\U00010D50"), Words({"\U00010D50"}));  // a letter since Unicode 16
  EXPECT_EQ(Matches("\\d{,2}x", "123x"), Words({"23x"}));
  EXPECT_EQ(Matches("\\v", "\x0B\n"), Words({"\x0B"}));
  EXPECT_EQ(Matches("[\\S&&\\D]", "1 a"), Words({"a"}));
  EXPECT_EQ(Matches("x*", "axb"), Words({"", "x", ""}));
}

TEST(RegexTest, RefusesByName) {
  for (const char* pattern : {"(a)\\1", "\\Ka", "\\Ga", "(?~a)", "\\p{NoSuch}", "\\x80", "(?x)a"}) {
    const auto regex = Regex::Compile(pattern, "field");
    ASSERT_FALSE(regex.ok()) << pattern;
    EXPECT_EQ(regex.error().code, ErrorCode::kUnsupported) << pattern;
    EXPECT_TRUE(regex.error().message.starts_with("field: ")) << regex.error().message;
  }
  for (const char* pattern : {"(a", "a)", "[a", "*a", "[b-a]", "\\", "\\x{110000}", "(?<=a+)b"}) {
    const auto regex = Regex::Compile(pattern, "field");
    ASSERT_FALSE(regex.ok()) << pattern;
    EXPECT_EQ(regex.error().code, ErrorCode::kCorrupt) << pattern;
  }
  EXPECT_FALSE(Regex::Compile(std::string(100, '(') + std::string(100, ')'), "f").ok());
  EXPECT_FALSE(Regex::Compile(std::string(70000, 'a'), "f").ok());
}

// Each needs quadratic or exponential time on this text; each must be told so instead.
TEST(RegexTest, HostilePatternsAreErrors) {
  const std::string text(1 << 20, 'a');
  for (const char* pattern : {"a*b|a", "(a+)+b|a", "(a|aa)+$|b", "(?:a*)*c", "a(?=a*c)|a"}) {
    const auto regex = Regex::Compile(pattern, "field");
    ASSERT_TRUE(regex.ok());
    RegexScratch scratch;
    scratch.ResetBudget(text.size());
    Status status;
    for (std::size_t at = 0; status.ok() && at < text.size();) {
      const auto found = regex->Find(text, at, scratch);
      if (!found.ok()) {
        status = found.error();
      } else {
        ASSERT_TRUE(found->has_value());
        at = (*found)->end;
      }
    }
    ASSERT_FALSE(status.ok()) << pattern;
    EXPECT_EQ(status.error().code, ErrorCode::kUnsupported);
  }
}

// Longer than the first window and than the compiled matcher's stack would allow for a group.
TEST(RegexTest, LongMatches) {
  const std::string text = std::string(1 << 20, '!') + "a";
  EXPECT_EQ(Matches(" ?[^\\s\\p{L}\\p{N}]+", text), Words({text.substr(0, 1 << 20)}));
  EXPECT_EQ(Matches("\\s+(?!\\S)", std::string(5000, ' ') + "x"), Words({std::string(4999, ' ')}));
}

TEST(SplitterTest, Behaviours) {
  const auto split = [](SplitBehavior behavior, std::string_view text) {
    Words out;
    Splitter splitter(behavior, [&](std::size_t start, std::size_t end) -> Status {
      out.emplace_back(text.substr(start, end - start));
      return {};
    });
    EXPECT_TRUE(VisitCharacters(
                    text, [](char32_t c) { return c == '-'; }, splitter)
                    .ok());
    EXPECT_TRUE(splitter.Finish().ok());
    return out;
  };
  const std::string_view text = "the-final--countdown";
  EXPECT_EQ(split(SplitBehavior::kRemoved, text), Words({"the", "final", "countdown"}));
  EXPECT_EQ(split(SplitBehavior::kIsolated, text),
            Words({"the", "-", "final", "-", "-", "countdown"}));
  EXPECT_EQ(split(SplitBehavior::kMergedWithPrevious, text),
            Words({"the-", "final-", "-", "countdown"}));
  EXPECT_EQ(split(SplitBehavior::kMergedWithNext, text),
            Words({"the", "-final", "-", "-countdown"}));
  EXPECT_EQ(split(SplitBehavior::kContiguous, text),
            Words({"the", "-", "final", "--", "countdown"}));
}

}  // namespace
}  // namespace awq::text
