#include "hub/settings.h"

#include <gtest/gtest.h>

#include <map>

#include "io/file.h"
#include "testing/paths.h"

namespace awq::hub {
namespace {

using Set = std::map<std::string, std::string>;

Result<Settings> Read(Set variables) {
  variables.emplace("HOME", "/home/me");
  return ReadSettings([&](const char* name) -> const char* {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

TEST(Settings, Defaults) {
  const auto settings = Read({});
  ASSERT_TRUE(settings.ok());
  EXPECT_EQ(settings->endpoint, "https://huggingface.co");
  EXPECT_EQ(settings->cache, "/home/me/.cache/huggingface/hub");
  EXPECT_EQ(settings->token, "");
  EXPECT_FALSE(settings->offline);
  EXPECT_EQ(settings->timeout_seconds, 10);
}

TEST(Settings, PlacesInTheOrderOfHuggingfaceHub) {
  Set all = {{"XDG_CACHE_HOME", "/xdg"},
             {"HF_HOME", "/home"},
             {"HUGGINGFACE_HUB_CACHE", "/older"},
             {"HF_HUB_CACHE", "/cache"}};
  EXPECT_EQ(Read(all)->cache, "/cache");
  all.erase("HF_HUB_CACHE");
  EXPECT_EQ(Read(all)->cache, "/older");
  all["HUGGINGFACE_HUB_CACHE"] = "";
  EXPECT_EQ(Read(all)->cache, "/home/hub");
  all.erase("HF_HOME");
  EXPECT_EQ(Read(all)->cache, "/xdg/huggingface/hub");
}

TEST(Settings, PathsAreExpanded) {
  EXPECT_EQ(Read({{"HF_HUB_CACHE", "~/x"}})->cache, "/home/me/x");
  EXPECT_EQ(Read({{"HF_HUB_CACHE", "$HOME/x"}})->cache, "/home/me/x");
  EXPECT_EQ(Read({{"HF_HUB_CACHE", "/a/${B}c"}, {"B", "b"}})->cache, "/a/bc");
  EXPECT_EQ(Read({{"HF_HUB_CACHE", "/a/$NONE/${HOME"}})->cache, "/a/$NONE/${HOME");
  EXPECT_EQ(Read({{"HF_HUB_CACHE", "/a~/$"}})->cache, "/a~/$");
}

TEST(Settings, NoHomeAtAll) {
  const auto settings = Read({{"HOME", ""}});
  ASSERT_FALSE(settings.ok());
  EXPECT_NE(settings.error().message.find("HF_HOME"), std::string::npos);
}

TEST(Settings, Endpoint) {
  EXPECT_EQ(Read({{"HF_ENDPOINT", "http://127.0.0.1:8/"}})->endpoint, "http://127.0.0.1:8");
  EXPECT_EQ(Read({{"HF_ENDPOINT", "https://mirror/hf//"}})->endpoint, "https://mirror/hf");
  for (const char* text : {"mirror", "ftp://x", "https://u:p@x", "https://x?y", "https://x#y"}) {
    EXPECT_FALSE(Read({{"HF_ENDPOINT", text}}).ok()) << text;
  }
}

TEST(Settings, Token) {
  const testing::TemporaryDirectory home;
  ASSERT_TRUE(io::WriteFileAtomically(home.path() / "token", "hf_file\n").ok());
  ASSERT_TRUE(io::WriteFileAtomically(home.path() / "other", "hf_other").ok());
  Set all = {{"HF_HOME", home.path().string()}};
  EXPECT_EQ(Read(all)->token, "hf_file");
  all["HF_TOKEN_PATH"] = (home.path() / "other").string();
  EXPECT_EQ(Read(all)->token, "hf_other");
  all["HUGGING_FACE_HUB_TOKEN"] = "hf_older";
  EXPECT_EQ(Read(all)->token, "hf_older");
  all["HF_TOKEN"] = " hf_now \n";
  EXPECT_EQ(Read(all)->token, "hf_now");
  all["HF_HUB_DISABLE_IMPLICIT_TOKEN"] = "1";
  EXPECT_EQ(Read(all)->token, "");
  for (const char* token : {"a b", "a\r\nX: y", "a\x7f", "\xc3\xa4"}) {
    const auto settings = Read({{"HF_TOKEN", token}});
    ASSERT_FALSE(settings.ok());
    EXPECT_EQ(settings.error().message.find(token), std::string::npos);  // never shown
  }
}

TEST(Settings, WhatIsTrue) {
  for (const char* yes : {"1", "on", "YES", "True"}) {
    EXPECT_TRUE(Read({{"HF_HUB_OFFLINE", yes}})->offline) << yes;
    EXPECT_TRUE(Read({{"TRANSFORMERS_OFFLINE", yes}})->offline) << yes;
  }
  for (const char* no : {"", "0", "off", "2"}) {
    EXPECT_FALSE(Read({{"HF_HUB_OFFLINE", no}})->offline) << no;
  }
}

TEST(Settings, Timeout) {
  EXPECT_EQ(Read({{"HF_HUB_DOWNLOAD_TIMEOUT", "60"}})->timeout_seconds, 60);
  for (const char* text : {"0", "-1", "1.5", "x", "99999999999999999999"}) {
    EXPECT_FALSE(Read({{"HF_HUB_DOWNLOAD_TIMEOUT", text}}).ok()) << text;
  }
}

}  // namespace
}  // namespace awq::hub
