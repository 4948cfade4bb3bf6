#include "generate/stop_strings.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace awq::generate {
namespace {

// In pieces of so many bytes.
std::string Shown(std::string_view text, std::size_t piece, StopStrings& stop) {
  std::string shown;
  for (std::size_t i = 0; i < text.size(); i += piece) shown += stop.Feed(text.substr(i, piece));
  return shown + stop.Flush();
}

// The text up to the first that is whole, wherever pieces end.
TEST(StopStrings, TheTextUpToTheFirstOfThem) {
  const std::vector<std::string> strings = {"\n\n", "User:", "abab"};
  for (const auto& [text, wanted] : std::vector<std::pair<std::string, std::string>>{
           {"One day\nand\n\nmore", "One day\nand"},
           {"User:", ""},
           {"UsUser: hello", "Us"},
           {"xababab", "x"},
           {"aabaabab", "aaba"},
           {"Use", "Use"},
           {"nothing of these\n", "nothing of these\n"}}) {
    for (std::size_t piece = 1; piece < 8; ++piece) {
      StopStrings stop(strings);
      EXPECT_EQ(Shown(text, piece, stop), wanted) << piece;
      EXPECT_EQ(stop.matched(), wanted != text);
      EXPECT_EQ(stop.Feed(stop.matched() ? "more" : ""), "");
    }
  }
}

TEST(StopStrings, RandomTextsAreCutWhereFindFindsIt) {
  std::mt19937 random(1);
  for (int round = 0; round < 2000; ++round) {
    const auto letters = [&](std::size_t count) {
      std::string text;
      while (text.size() < count) text += "ab"[random() % 2];
      return text;
    };
    const std::string wanted = letters(1 + random() % 4);
    const std::string text = letters(random() % 24);
    StopStrings stop({wanted});
    const std::size_t found = std::min(text.find(wanted), text.size());
    EXPECT_EQ(Shown(text, 1 + random() % 5, stop), text.substr(0, found)) << wanted << " " << text;
    EXPECT_EQ(stop.matched(), text.find(wanted) != std::string::npos);
  }
}

TEST(StopStrings, OfTwoInOnePieceTheEarliest) {
  StopStrings stop({"b", "a"});
  EXPECT_EQ(stop.Feed("xaby"), "x");
}

TEST(StopStrings, WithoutStringsNothingIsHeldBack) {
  StopStrings stop({"", ""});
  EXPECT_EQ(stop.Feed("One"), "One");
  EXPECT_EQ(stop.Flush(), "");
  EXPECT_FALSE(stop.matched());
}

}  // namespace
}  // namespace awq::generate
