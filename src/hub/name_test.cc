#include "hub/name.h"

#include <gtest/gtest.h>

namespace awq::hub {
namespace {

TEST(ModelName, TakesWhatAHubTakes) {
  for (const char* text : {"org/name", "Qwen/Qwen3-0.6B", "a/b", "0rg/n.a_m-e", "_o/_n"}) {
    const auto name = ParseModelName(text);
    ASSERT_TRUE(name.ok()) << text;
    EXPECT_EQ(name->id(), text);
    EXPECT_EQ(name->text(), text);
    EXPECT_EQ(name->revision, "main");
  }
  const auto tagged = ParseModelName("org/name@refs/pr/1");
  ASSERT_TRUE(tagged.ok());
  EXPECT_EQ(tagged->revision, "refs/pr/1");
  EXPECT_EQ(tagged->text(), "org/name@refs/pr/1");
}

TEST(ModelName, RefusesTheRestByName) {
  for (const char* text :
       {"",        "/",      "name",    "org/",      "/name",   "a/b/c",    "./a",
        "a/..",    "-a/b",   "a/b-",    "a/b.",      "a/.b",    "a--b/c",   "a/b..c",
        "a/b.git", "a b/c",  "a/b\n",   "a/b@",      "a/b@x y", "a/b@../c", "a/b@/c",
        "a/b@c/",  "a/b@-x", "a/b@x:y", "\xc3\xa4/b"}) {
    const auto name = ParseModelName(text);
    ASSERT_FALSE(name.ok()) << text;
    EXPECT_EQ(name.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(name.error().message.find(text), std::string::npos);
  }
  EXPECT_TRUE(ParseModelName("a/" + std::string(94, 'b')).ok());
  EXPECT_FALSE(ParseModelName("a/" + std::string(95, 'b')).ok());
}

TEST(FileName, StaysWhereItBegins) {
  for (const char* name :
       {"a", "config.json", "onnx/model.onnx", "..a", "a..", "...", "\xc3\xa4"}) {
    EXPECT_TRUE(IsSafeFileName(name)) << name;
  }
  for (const char* name :
       {"", "/a", "a/", "a//b", ".", "..", "a/../b", "a/.", "../a", "a\\b", "a\nb", "a\x7f"}) {
    EXPECT_FALSE(IsSafeFileName(name)) << name;
  }
  EXPECT_FALSE(IsSafeFileName(std::string_view("a\0b", 3)));
  EXPECT_TRUE(IsSafeFileName(std::string(255, 'x')));
  EXPECT_FALSE(IsSafeFileName(std::string(256, 'x')));
  std::string deep = "x";
  for (int i = 1; i < 16; ++i) deep += "/x";
  EXPECT_TRUE(IsSafeFileName(deep));
  EXPECT_FALSE(IsSafeFileName(deep + "/x"));
}

TEST(Hashes, AreLowercaseAndWhole) {
  EXPECT_TRUE(IsCommit(std::string(40, 'a')));
  EXPECT_FALSE(IsCommit(std::string(39, 'a')));
  EXPECT_FALSE(IsCommit(std::string(64, 'a')));
  EXPECT_TRUE(IsBlobHash(std::string(64, '0')));
  EXPECT_TRUE(IsBlobHash(std::string(40, 'f')));
  EXPECT_FALSE(IsBlobHash(std::string(40, 'F')));
  EXPECT_FALSE(IsBlobHash(std::string(39, 'a') + "/"));
}

}  // namespace
}  // namespace awq::hub
