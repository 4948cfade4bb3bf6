#include "hub/url.h"

#include <gtest/gtest.h>

namespace awq::hub {
namespace {

std::string Origin(std::string_view text) {
  const auto url = ParseUrl(text);
  return url ? url->origin : "error";
}

TEST(Url, OriginIsSchemeHostAndPort) {
  EXPECT_EQ(Origin("https://huggingface.co"), "https://huggingface.co:443");
  EXPECT_EQ(Origin("https://HuggingFace.CO:443/a?b"), "https://huggingface.co:443");
  EXPECT_EQ(Origin("http://127.0.0.1/a"), "http://127.0.0.1:80");
  EXPECT_EQ(Origin("http://[::1]:8080/a"), "http://[::1]:8080");
  // Who only looks like the hub is another.
  for (const char* other : {"https://huggingface.co:444", "http://huggingface.co:443",
                            "https://huggingface.co.evil.org", "https://huggingface.co./"}) {
    EXPECT_NE(Origin(other), "https://huggingface.co:443") << other;
  }
}

TEST(Url, RefusesWhatItCannotVouchFor) {
  for (const char* text :
       {"", "huggingface.co", "ftp://x", "file:///etc/passwd", "https://", "https://u@x",
        "https://u:p@x", "https://@x", "https://:@x/", "https:///@x?y",
        "https://huggingface.co@evil.org", "http://a b", "http://x/\r\nEvil: 1", "https://x%D2",
        "https:/x%D2", "https://x%2Fy", "https://%31"}) {
    EXPECT_FALSE(ParseUrl(text).ok()) << text;
  }
  EXPECT_FALSE(ParseUrl("http://x/" + std::string(20000, 'a')).ok());
  // A storage's signature does not belong into a message.
  EXPECT_EQ(ParseUrl("ftp://x/y?signature=secret").error().message.find("secret"),
            std::string::npos);
}

TEST(Url, LocationsAreRelativeToWhatSentThem) {
  const auto base = ParseUrl("https://hub.org/a/b?c");
  ASSERT_TRUE(base.ok());
  const auto text = [&](std::string_view location) {
    const auto url = FollowLocation(*base, location);
    return url ? url->text : "error";
  };
  EXPECT_EQ(text("/x"), "https://hub.org/x");
  EXPECT_EQ(text("x?y"), "https://hub.org/a/x?y");
  EXPECT_EQ(text("//cdn.org/x"), "https://cdn.org/x");
  EXPECT_EQ(text("https://cdn.org/x"), "https://cdn.org/x");
  EXPECT_EQ(text("http://hub.org/x"), "error");
  EXPECT_EQ(text("https://u:p@cdn.org/x"), "error");
  EXPECT_EQ(text("https://@cdn.org/x"), "error");
  EXPECT_EQ(text("//@cdn.org/x"), "error");
  EXPECT_EQ(text("/@x"), "https://hub.org/@x");
  EXPECT_EQ(text("//cdn.org?@"), "https://cdn.org/?@");
  EXPECT_EQ(text("javascript:x"), "error");
  const auto plain = ParseUrl("http://localhost:1/");
  EXPECT_TRUE(FollowLocation(*plain, "https://cdn.org/x").ok());
  EXPECT_TRUE(FollowLocation(*plain, "http://cdn.org/x").ok());
}

TEST(Url, Escapes) {
  EXPECT_EQ(EscapeUrl("a/b c%?#\xc3\xa4", true), "a/b%20c%25%3F%23%C3%A4");
  EXPECT_EQ(EscapeUrl("refs/pr/1", false), "refs%2Fpr%2F1");
}

}  // namespace
}  // namespace awq::hub
