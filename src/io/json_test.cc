#include "io/json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

namespace awq::io {
namespace {

std::string ErrorOf(std::string_view text) {
  const auto result = ParseJson(text, "x.json");
  return result.ok() ? "" : result.error().message;
}

TEST(Json, BuildsTheSameTreeAsTheLibrary) {
  const std::string text =
      R"({"a":[1,-2,3.5,true,false,null,"s",[],{}],"b":{"c":{"d":[[1],[2,{"e":"\u00e9"}]]}},"":0})";
  const auto parsed = ParseJson(text, "x.json");
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_EQ(*parsed, nlohmann::json::parse(text));
  for (const std::string scalar : {"1", "null", "\"x\"", "[]", " {} "}) {
    EXPECT_TRUE(ParseJson(scalar, "x.json").ok()) << scalar;
  }
}

TEST(Json, RefusesWhatIsNotOneValue) {
  for (const std::string text : {"", "{", "[1,]", "{\"a\":}", "1 2", "{} x", "nul", "\"\xff\"",
                                 "[1e999]", "{'a':1}", "01", "[1,2}", "\"\n\"", "NaN"}) {
    EXPECT_NE(ErrorOf(text), "") << text;
    EXPECT_TRUE(ErrorOf(text).starts_with("x.json: not valid JSON: ")) << ErrorOf(text);
  }
}

TEST(Json, RefusesRepeatedKeysInOneObjectOnly) {
  EXPECT_NE(ErrorOf(R"({"a":1,"b":2,"a":3})").find("\"a\" stands twice"), std::string::npos);
  EXPECT_NE(ErrorOf(R"([{"x":{"k":1,"k":1}}])").find("\"k\" stands twice"), std::string::npos);
  EXPECT_EQ(ErrorOf(R"({"a":{"a":1},"b":{"a":1}})"), "");
}

TEST(Json, BoundsTheDepth) {
  EXPECT_EQ(ErrorOf(std::string(256, '[') + std::string(256, ']')), "");
  EXPECT_NE(ErrorOf(std::string(257, '[') + std::string(257, ']')).find("deeper than 256"),
            std::string::npos);
  EXPECT_NE(ErrorOf(std::string(10'000'000, '[')), "");
  std::string objects;
  for (int i = 0; i < 300; ++i) objects += "{\"a\":";
  EXPECT_NE(ErrorOf(objects).find("deeper"), std::string::npos);
}

TEST(Json, BoundsTheNumberOfValues) {
  std::string text = "[0";
  for (int i = 0; i < (1 << 23); ++i) text += ",0";
  EXPECT_NE(ErrorOf(text + "]").find("more than 8388608 values"), std::string::npos);
}

TEST(Json, QuotesBadBytesReadably) {
  const std::string error = ErrorOf("\xff\xfe\x01");
  EXPECT_NE(error, "");
  for (const char c : error) EXPECT_TRUE(c >= ' ' && c <= '~');
  EXPECT_LT(ErrorOf("[\"" + std::string(1'000'000, 'a') + "\xff\"]").size(), 1000U);
}

}  // namespace
}  // namespace awq::io
