#include "io/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "testing/paths.h"

namespace awq::io {
namespace {

std::string WithLength(const std::string& header) {
  std::string result;
  for (std::size_t i = 0; i < 8; ++i) {
    result.push_back(static_cast<char>(header.size() >> (8 * i) & 0xff));
  }
  return result + header;
}

Result<std::vector<TensorInfo>> Parse(const std::string& file) {
  return ParseSafetensorsHeader(std::as_bytes(std::span(file)), file.size(), "x.safetensors");
}

// Parses a header before `data_bytes` bytes of data; the error's message, or nothing.
std::string ErrorOf(const std::string& header, std::size_t data_bytes) {
  const auto result = Parse(WithLength(header) + std::string(data_bytes, 'd'));
  return result.ok() ? "" : result.error().message;
}

TEST(Safetensors, ReadsAHeader) {
  const std::string header = R"({"b":{"dtype":"F16","shape":[2,3],"data_offsets":[4,16]},)"
                             R"("__metadata__":{"format":"pt"},)"
                             R"("a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},)"
                             R"("empty":{"dtype":"I64","shape":[3,0],"data_offsets":[4,4]}}   )";
  const auto tensors = Parse(WithLength(header) + std::string(16, 'd'));
  ASSERT_TRUE(tensors.ok()) << tensors.error().message;
  ASSERT_EQ(tensors->size(), 3U);
  EXPECT_EQ((*tensors)[0].name, "a");
  EXPECT_EQ((*tensors)[0].shape, Shape{});
  EXPECT_EQ((*tensors)[1].name, "empty");
  EXPECT_EQ((*tensors)[1].size_bytes, 0U);
  EXPECT_EQ((*tensors)[2].name, "b");
  EXPECT_EQ((*tensors)[2].dtype, DType::kF16);
  EXPECT_EQ((*tensors)[2].shape, (Shape{2, 3}));
  EXPECT_EQ((*tensors)[2].offset_bytes, 8 + header.size() + 4);
  EXPECT_EQ((*tensors)[2].size_bytes, 12U);
  EXPECT_TRUE(Parse(WithLength("{}")).ok());
}

TEST(Safetensors, RefusesBadLengths) {
  EXPECT_FALSE(Parse("").ok());
  EXPECT_FALSE(Parse("1234567").ok());
  EXPECT_FALSE(Parse(std::string(8, '\0')).ok());
  EXPECT_FALSE(Parse(std::string(16, '\xff')).ok());
  std::string longer = WithLength("{}");
  longer[0] = 3;
  EXPECT_FALSE(Parse(longer).ok());
  std::string huge = WithLength("{}");
  huge[4] = 1;
  EXPECT_FALSE(Parse(huge).ok());
  // A claim that the header is longer than the bytes at hand, whatever the file's length.
  const std::string header = WithLength("{}");
  EXPECT_FALSE(
      ParseSafetensorsHeader(std::as_bytes(std::span(header)).first(9), header.size(), "x").ok());
}

TEST(Safetensors, NamesAGitLfsPointer) {
  const auto parsed =
      Parse("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n");
  ASSERT_FALSE(parsed.ok());
  EXPECT_NE(parsed.error().message.find("git lfs pull"), std::string::npos)
      << parsed.error().message;
}

TEST(Safetensors, RefusesContradictions) {
  struct Case {
    const char* header;
    std::size_t data_bytes;
    const char* expected;
  };
  const Case cases[] = {
      {R"([])", 0, "does not begin"},
      {R"( {})", 0, "does not begin"},
      {R"({"a":1})", 0, "not a JSON object"},
      {R"({"a":{}})", 0, "dtype"},
      {R"({"a":{"dtype":"F32","data_offsets":[0,4]}})", 4, "shape"},
      {R"({"a":{"dtype":"F32","shape":[1]}})", 4, "data_offsets"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", 4, "data_offsets"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}})", 8, "data_offsets"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4, "data_offsets"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 3, "truncated"},
      {R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4, "shape"},
      {R"({"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})", 4, "shape"},
      {R"({"a":{"dtype":"F32","shape":[18446744073709551616],"data_offsets":[0,4]}})", 4, "shape"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4, "does not fit"},
      {R"({"a":{"dtype":"U8","shape":[4294967296,4294967297],"data_offsets":[0,4]}})", 4,
       "does not fit"},  // the product wraps around to 2^32
      {R"({"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]}})", 0,
       "does not fit"},
      {R"({"a":{"dtype":"F4","shape":[8],"data_offsets":[0,4]}})", 4, "dtype F4 is not known"},
      {R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
       R"("b":{"dtype":"U8","shape":[4],"data_offsets":[3,7]}})",
       7, "overlapping"},
      {R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
       R"("b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})",
       4, "overlapping"},
      {R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
       R"("b":{"dtype":"U8","shape":[4],"data_offsets":[5,9]}})",
       9, "hole"},
      {R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[1,5]}})", 5, "hole"},
      {R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 5, "the file holds 5"},
      {R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},)"
       R"("a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})",
       0, "stands twice"},
      {R"({"__metadata__":[]})", 0, "__metadata__"},
      {R"({"__metadata__":{"a":1}})", 0, "__metadata__"},
      {R"({"__metadata__":{"a":{}}})", 0, "__metadata__"},
  };
  for (const Case& c : cases) {
    const std::string error = ErrorOf(c.header, c.data_bytes);
    EXPECT_NE(error.find(c.expected), std::string::npos) << c.header << "\n -> " << error;
    EXPECT_TRUE(error.starts_with("x.safetensors: ")) << error;
  }
}

TEST(Safetensors, BuildsWhatItReads) {
  std::vector<TensorInfo> tensors(3);
  tensors[0] = {"z", DType::kBF16, {3, 5}, 0, 30};
  tensors[1] = {"quote\"\\\n", DType::kI32, {0}, 0, 0};
  tensors[2] = {"a", DType::kF32, {2}, 0, 8};
  const std::string header = BuildSafetensorsHeader(tensors, {{"format", "pt"}});
  EXPECT_EQ(header.size() % 8, 0U);
  EXPECT_EQ(header.find(R"({"__metadata__":{"format":"pt"},"z":{"dtype":"BF16","shape":[3,5],)"
                        R"("data_offsets":[0,30]})"),
            8U);
  const auto read = Parse(header + std::string(38, 'd'));
  ASSERT_TRUE(read.ok()) << read.error().message;
  ASSERT_EQ(read->size(), tensors.size());
  std::vector<TensorInfo> expected = {tensors[0], tensors[1], tensors[2]};
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ((*read)[i].name, expected[i].name);
    EXPECT_EQ((*read)[i].dtype, expected[i].dtype);
    EXPECT_EQ((*read)[i].shape, expected[i].shape);
    EXPECT_EQ((*read)[i].offset_bytes, expected[i].offset_bytes);
    EXPECT_EQ((*read)[i].size_bytes, expected[i].size_bytes);
  }
}

// No single damaged byte of a header may do more than change what is read.
TEST(Safetensors, SurvivesEveryFlippedByte) {
  std::vector<TensorInfo> tensors(2);
  tensors[0] = {"w", DType::kF32, {2, 2}, 0, 16};
  tensors[1] = {"b", DType::kI8, {3}, 0, 3};
  const std::string good = BuildSafetensorsHeader(tensors) + std::string(19, 'd');
  for (std::size_t i = 0; i < good.size(); ++i) {
    for (const int flip : {1, 2, 16, 128, 255}) {
      std::string bad = good;
      bad[i] = static_cast<char>(bad[i] ^ flip);
      const auto read = Parse(bad);
      if (!read.ok()) continue;
      for (const TensorInfo& info : *read) {
        EXPECT_LE(info.offset_bytes + info.size_bytes, bad.size());
      }
    }
  }
}

TEST(Safetensors, MapsAFile) {
  std::vector<TensorInfo> tensors(2);
  tensors[0] = {"odd", DType::kU8, {3}, 0, 3};
  tensors[1] = {"word", DType::kI32, {1}, 0, 4};
  const testing::TemporaryDirectory directory;
  const auto path = directory.path() / "m.safetensors";
  ASSERT_TRUE(
      WriteFileAtomically(path, BuildSafetensorsHeader(tensors) + std::string("abcdefg")).ok());
  auto file = SafetensorsFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.error().message;
  ASSERT_EQ(file->tensors().size(), 2U);
  const TensorView view = file->View(file->tensors()[1]);
  EXPECT_EQ(view.shape, Shape{1});
  EXPECT_EQ(std::memcmp(view.bytes.data(), "defg", 4), 0);
  EXPECT_FALSE(SafetensorsFile::Open(directory.path() / "absent").ok());
}

TEST(Safetensors, ReadsARealModel) {
  AWQ_NEEDS_DATA("models/stories15M/model.safetensors");
  auto file =
      SafetensorsFile::Open(testing::DataDir() / "models" / "stories15M" / "model.safetensors");
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_GT(file->tensors().size(), 50U);
}

}  // namespace
}  // namespace awq::io
