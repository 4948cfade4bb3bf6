#include "hub/answer.h"

#include <gtest/gtest.h>

#include "hub/hash.h"

namespace awq::hub {
namespace {

const std::string kHash(40, 'a');

Headers Read(std::initializer_list<std::string_view> lines) {
  Headers headers;
  for (const std::string_view line : lines) AddHeader(line, headers);
  return headers;
}

TEST(Header, LinesAreRead) {
  const Headers headers = Read({"ETag:  \"x\" \r\n", "Content-Length:5", "nonsense", ": y", "A:"});
  EXPECT_EQ(headers.size(), 3U);
  EXPECT_EQ(HeaderOf(headers, "etag"), "\"x\"");
  EXPECT_EQ(HeaderOf(headers, "content-length"), "5");
  EXPECT_EQ(HeaderOf(headers, "absent"), "");
}

TEST(Header, EtagsInAllTheirForms) {
  EXPECT_EQ(NormalizeEtag("\"x\""), "x");
  EXPECT_EQ(NormalizeEtag("W/\"x\""), "x");
  EXPECT_EQ(NormalizeEtag("x"), "x");
  EXPECT_EQ(NormalizeEtag("\""), "\"");
}

TEST(Header, Numbers) {
  EXPECT_EQ(ReadNumber("18446744073709551615"), SIZE_MAX);
  for (const char* text : {"", "-1", "+1", " 1", "1 ", "0x1", "18446744073709551616"}) {
    EXPECT_FALSE(ReadNumber(text).has_value()) << text;
  }
}

TEST(Header, Ranges) {
  const auto range = ReadContentRange("bytes 5-9/10");
  ASSERT_TRUE(range.has_value());
  EXPECT_EQ(range->first, 5U);
  EXPECT_EQ(range->total_bytes, 10U);
  EXPECT_FALSE(ReadContentRange("bytes 5-9/*")->total_bytes.has_value());
  for (const char* text : {"", "bytes", "bytes 5-4/10", "bytes 5-10/10", "bytes */10", "5-9/10",
                           "bytes 5/9-10", "bytes -9/10", "bytes 5-9/"}) {
    EXPECT_FALSE(ReadContentRange(text).has_value()) << text;
  }
}

TEST(RemoteFile, LinkedComesFirst) {
  const std::string sha256(64, 'b');
  const auto file = ReadRemoteFile(Read({"ETag: \"redirect\"", "Content-Length: 100",
                                         "X-Linked-Etag: \"" + sha256 + "\"", "X-Linked-Size: 7"}),
                                   "model.safetensors");
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file->hash, sha256);
  EXPECT_EQ(file->size_bytes, 7U);
  const auto small =
      ReadRemoteFile(Read({"etag: W/\"" + kHash + "\"", "content-length: 0"}), "config.json");
  ASSERT_TRUE(small.ok());
  EXPECT_EQ(small->hash, kHash);
}

TEST(RemoteFile, MustBeCheckable) {
  EXPECT_FALSE(ReadRemoteFile(Read({"content-length: 5"}), "f").ok());
  EXPECT_FALSE(ReadRemoteFile(Read({"etag: \"../x\"", "content-length: 5"}), "f").ok());
  EXPECT_FALSE(ReadRemoteFile(Read({"etag: \"" + kHash + "\""}), "f").ok());
}

TEST(Listing, FilesAreSortedAndSafe) {
  const auto listing = ReadListing(
      R"({"sha": ")" + kHash +
          R"(", "siblings": [{"rfilename": "b"}, {"rfilename": "../x"}, 3, {"rfilename": "a/c"},
              {"rfilename": "b"}, {"rfilename": 5}, {}]})",
      "listing");
  ASSERT_TRUE(listing.ok()) << listing.error().message;
  EXPECT_EQ(listing->commit, kHash);
  EXPECT_EQ(listing->files, (std::vector<std::string>{"a/c", "b"}));
}

TEST(Listing, LiesAreNamed) {
  for (const std::string& text :
       {std::string("null"), std::string("{}"), R"({"sha": ")" + kHash + "\"}",
        R"({"sha": ")" + kHash + R"(", "siblings": {}})",
        std::string(R"({"sha": "main", "siblings": []})")}) {
    const auto listing = ReadListing(text, "listing");
    ASSERT_FALSE(listing.ok()) << text;
    EXPECT_NE(listing.error().message.find("listing"), std::string::npos);
  }
  std::string many = R"({"sha": ")" + kHash + R"(", "siblings": [{})";
  for (int i = 0; i < 100000; ++i) many += ",{}";
  EXPECT_FALSE(ReadListing(many + "]}", "listing").ok());
}

std::string HashOf(std::size_t digits, std::string_view content) {
  BlobHasher hasher(digits, content.size());
  const auto bytes = std::as_bytes(std::span(content));
  hasher.Update(bytes.first(bytes.size() / 2));
  hasher.Update(bytes.subspan(bytes.size() / 2));
  return hasher.Finish();
}

// `sha256sum` and `git hash-object` of these contents.
TEST(BlobHasher, KnownValues) {
  EXPECT_EQ(HashOf(64, ""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(HashOf(64, "abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(HashOf(40, ""), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
  EXPECT_EQ(HashOf(40, "abc"), "f2ba8f84ab5c1bce84a7b441cb1959cfc7093b7f");
}

}  // namespace
}  // namespace awq::hub
