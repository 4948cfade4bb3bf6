#include "io/gguf.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "io/gguf_writer.h"
#include "testing/paths.h"

namespace awq::io {
namespace {

namespace fs = std::filesystem;

// The bytes of a header, number by number.
class Bytes {
 public:
  Bytes& U32(std::uint32_t value) { return Raw(value); }
  Bytes& U64(std::uint64_t value) { return Raw(value); }
  Bytes& String(std::string_view text) {
    Raw(std::uint64_t{text.size()});
    text_ += text;
    return *this;
  }
  Bytes& Fill(std::size_t size) {
    text_.resize(size, '\0');
    return *this;
  }
  template <class T>
  Bytes& Raw(T value) {
    text_.append(reinterpret_cast<const char*>(&value), sizeof(value));
    return *this;
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

Bytes Start(std::uint64_t tensors, std::uint64_t keys) {
  return Bytes().Raw(std::array{'G', 'G', 'U', 'F'}).U32(3).U64(tensors).U64(keys);
}

Bytes Key(std::uint32_t type) { return Start(0, 1).String("k").U32(type); }

Bytes& Tensor(Bytes& to, std::string_view name, const std::vector<std::uint64_t>& extents,
              std::uint32_t type, std::uint64_t offset) {
  to.String(name).U32(static_cast<std::uint32_t>(extents.size()));
  for (const std::uint64_t extent : extents) to.U64(extent);
  return to.U32(type).U64(offset);
}

Result<GgufHeader> Parse(const std::string& file) {
  return ParseGguf(std::as_bytes(std::span(file)), file.size(), "x.gguf");
}

std::string ErrorOf(const std::string& file) {
  const auto result = Parse(file);
  return result.ok() ? "" : result.error().message;
}

GgufBuilder Sample() {
  GgufBuilder builder;
  builder.AddString("general.architecture", "llama");
  builder.AddU32("llama.block_count", 2);
  builder.AddF32("eps", 1e-5F);
  builder.AddBool("truth", true);
  builder.AddStrings("words", std::vector<std::string>{"a", "", "ccc"});
  builder.AddF32s("scores", std::vector<float>{0.5F, -1});
  builder.AddI32s("kinds", std::vector<std::int32_t>{3, 3, 3});
  EXPECT_TRUE(builder.AddTensor("w", GgmlType::kQ4_0, {3, 64}).ok());
  EXPECT_TRUE(builder.AddTensor("b", GgmlType::kF32, {5}).ok());
  return builder;
}

TEST(Gguf, ReadsWhatItBuilds) {
  GgufBuilder builder = Sample();
  std::string file = builder.Finish();
  EXPECT_EQ(file.size() % 32, 0U);
  file.resize(builder.tensors()[1].offset_bytes + 20);
  const auto header = Parse(file);
  ASSERT_TRUE(header.ok()) << header.error().message;
  const GgufMetadata& metadata = header->metadata;
  EXPECT_EQ(*metadata.RequireString("general.architecture"), "llama");
  EXPECT_EQ(*metadata.RequireSize("llama.block_count"), 2U);
  EXPECT_EQ(**metadata.Number("eps"), double{1e-5F});
  EXPECT_EQ(**metadata.Bool("truth"), true);
  EXPECT_EQ(*metadata.Strings("words"), (std::vector<std::string_view>{"a", "", "ccc"}));
  EXPECT_EQ(*metadata.Numbers("scores"), (std::vector<double>{0.5, -1}));
  EXPECT_EQ(*metadata.RequireSize("kinds"), 3U);
  EXPECT_FALSE(*metadata.String("absent"));
  EXPECT_FALSE(metadata.RequireString("absent").ok());
  EXPECT_FALSE(metadata.Size("scores").ok());
  EXPECT_FALSE(metadata.Bool("eps").ok());
  ASSERT_EQ(header->tensors.size(), 2U);
  EXPECT_EQ(header->tensors[0].name, "w");
  EXPECT_EQ(header->tensors[0].shape, (Shape{3, 64}));
  EXPECT_EQ(header->tensors[0].type->name, "Q4_0");
  EXPECT_EQ(header->tensors[0].size_bytes, 3U * 2 * 18);
  EXPECT_EQ(header->tensors[1].offset_bytes, builder.tensors()[1].offset_bytes);
}

TEST(Gguf, ReadsEveryKindOfValue) {
  Bytes file = Start(0, 13);
  file.String("0").U32(0).Raw(std::uint8_t{200}).String("1").U32(1).Raw(std::int8_t{-2});
  file.String("2").U32(2).Raw(std::uint16_t{40000}).String("3").U32(3).Raw(std::int16_t{-3});
  file.String("4").U32(4).U32(4).String("5").U32(5).Raw(std::int32_t{5});
  file.String("6").U32(6).Raw(6.5F).String("7").U32(7).Raw(std::uint8_t{1});
  file.String("8").U32(8).String("eight");
  file.String("9").U32(9).U32(9).U64(2).U32(4).U64(1).U32(7).U32(8).U64(1).String("nested");
  file.String("10").U32(10).U64(1U << 30).String("11").U32(11).Raw(std::int64_t{-11});
  file.String("12").U32(12).Raw(0.1);
  const auto header = Parse(file.text());
  ASSERT_TRUE(header.ok()) << header.error().message;
  const GgufMetadata& metadata = header->metadata;
  EXPECT_EQ(**metadata.Size("0"), 200U);
  EXPECT_EQ(**metadata.Number("1"), -2);
  EXPECT_FALSE(metadata.Size("1").ok());
  EXPECT_EQ(**metadata.Size("2"), 40000U);
  EXPECT_EQ(**metadata.Size("5"), 5U);
  EXPECT_EQ(**metadata.Number("6"), 6.5);
  EXPECT_EQ(**metadata.String("8"), "eight");
  const auto* nested = std::get_if<GgufArray>(metadata.Find("9"));
  ASSERT_NE(nested, nullptr);
  EXPECT_EQ(nested->count, 2U);
  EXPECT_FALSE(metadata.Strings("9").ok());
  EXPECT_FALSE(metadata.Numbers("9").ok());
  EXPECT_EQ(**metadata.Number("12"), 0.1);
}

TEST(Gguf, RefusesBadStarts) {
  EXPECT_NE(ErrorOf("").find("does not begin with GGUF"), std::string::npos);
  EXPECT_NE(ErrorOf("GGUF").find("the version"), std::string::npos);
  EXPECT_NE(ErrorOf("GGML0000").find("does not begin with GGUF"), std::string::npos);
  const auto version = [](std::uint32_t number) {
    return ErrorOf(Bytes().Raw(std::array{'G', 'G', 'U', 'F'}).U32(number).Fill(64).text());
  };
  EXPECT_NE(version(1).find("version 1 is not supported"), std::string::npos);
  EXPECT_NE(version(4).find("version 4"), std::string::npos);
  EXPECT_NE(version(0x03000000).find("little-endian"), std::string::npos);
  EXPECT_NE(ErrorOf(Start(std::uint64_t{1} << 60, 0).text()).find("at most"), std::string::npos);
  EXPECT_NE(ErrorOf(Start(0, std::uint64_t{1} << 60).text()).find("at most"), std::string::npos);
}

TEST(Gguf, RefusesBadValues) {
  const std::uint64_t huge = std::uint64_t{1} << 60;
  Bytes deep = Key(9);
  for (int i = 0; i < 6; ++i) deep.U32(9).U64(1);
  const std::pair<Bytes, const char*> cases[] = {
      {Key(13), "unknown type 13"},
      {Key(4).Raw(std::uint8_t{1}), "does not fit"},
      {Key(7).Raw(std::uint8_t{2}), "expected 0 or 1"},
      {Key(8).U64(huge), "does not fit"},
      {Key(8).U64(std::numeric_limits<std::uint64_t>::max()), "does not fit"},
      {Key(9).U32(0).U64(huge), "does not fit"},
      {Key(9).U32(8).U64(huge), "does not fit"},
      {Key(9).U32(12).U64(std::numeric_limits<std::uint64_t>::max()), "does not fit"},
      {Key(9).U32(77).U64(1), "unknown type 77"},
      {Key(9).U32(8).U64(1).U64(100), "does not fit"},
      {deep, "nested deeper"},
      {Start(0, 1).U64(huge), "does not fit"},
      {Start(0, 1).String("").U32(4).U32(1), "a key of 0 bytes"},
      {Start(0, 2).String("k").U32(4).U32(1).String("k").U32(4).U32(1), "occurs twice"},
      {Start(0, 1).String("general.alignment").U32(4).U32(24), "power of two"},
      {Start(0, 1).String("general.alignment").U32(4).U32(0), "power of two"},
      {Start(0, 1).String("general.alignment").U32(4).U32(1U << 31), "power of two"},
      {Start(0, 1).String("general.alignment").U32(6).Raw(32.0F), "general.alignment"},
  };
  for (const auto& [file, expected] : cases) {
    EXPECT_NE(ErrorOf(file.text()).find(expected), std::string::npos)
        << expected << "\n -> " << ErrorOf(file.text());
    EXPECT_TRUE(ErrorOf(file.text()).starts_with("x.gguf: ")) << ErrorOf(file.text());
  }
}

TEST(Gguf, RefusesBadTensors) {
  const std::uint64_t huge = std::uint64_t{1} << 60;
  struct Case {
    std::vector<std::uint64_t> extents;
    std::uint32_t type;
    std::uint64_t offset;
    const char* expected;
  };
  const Case cases[] = {
      {{4}, 5, 0, "tensor type 5 is not known"},
      {{4}, 0xffffffff, 0, "is not known"},
      {{4}, 0, 16, "no multiple of 32"},
      {{4}, 0, 64, "inside the 32 data bytes"},
      {{4}, 0, huge * 8, "inside"},
      {{16}, 0, 0, "inside the 32 data bytes"},
      {{33}, 2, 0, "no whole blocks of 32"},
      {{huge}, 0, 0, "does not fit"},
      {{huge, huge}, 0, 0, "does not fit"},
      {{std::uint64_t{1} << 32, std::uint64_t{1} << 32}, 24, 0, "does not fit"},
      {{1, 1, 1, 1, 1}, 0, 0, "5 dimensions"},
  };
  for (const Case& c : cases) {
    Bytes file = Start(1, 0);
    Tensor(file, "t", c.extents, c.type, c.offset);
    file.Fill(RoundUp(file.text().size(), 32) + 32);
    EXPECT_NE(ErrorOf(file.text()).find(c.expected), std::string::npos)
        << c.expected << "\n -> " << ErrorOf(file.text());
    EXPECT_NE(ErrorOf(file.text()).find("tensor t"), std::string::npos);
  }
  const auto two = [](const char* name, std::uint64_t offset) {
    Bytes file = Start(2, 0);
    Tensor(file, "a", {16}, 0, 0);
    Tensor(file, name, {8}, 0, offset);
    return ErrorOf(file.Fill(RoundUp(file.text().size(), 32) + 96).text());
  };
  EXPECT_EQ(two("b", 64), "");
  Bytes nothing = Start(1, 0);  // an empty tensor, and no byte where the data begin
  Tensor(nothing, "t", {0}, 0, 0);
  EXPECT_NE(ErrorOf(nothing.text()).find("the padding"), std::string::npos);
  EXPECT_NE(two("b", 32).find("overlaps"), std::string::npos);
  EXPECT_NE(two("b", 0).find("overlaps"), std::string::npos);
  EXPECT_NE(two("a", 64).find("occurs twice"), std::string::npos);
}

// Written by gguf-py (tools/make_gguf_golden.py).
TEST(Gguf, ReadsAFileOfAnotherWriter) {
  const auto file = GgufFile::Open(testing::GoldenDir() / "gguf" / "small.gguf");
  ASSERT_TRUE(file.ok()) << file.error().message;
  const GgufMetadata& metadata = file->metadata();
  EXPECT_EQ(*metadata.RequireString("general.architecture"), "llama");
  EXPECT_EQ(*metadata.RequireSize("general.alignment"), 64U);
  EXPECT_EQ(*metadata.RequireSize("test.uint8"), 200U);
  EXPECT_EQ(**metadata.Number("test.int8"), -2);
  EXPECT_EQ(*metadata.RequireSize("test.uint16"), 40000U);
  EXPECT_EQ(**metadata.Number("test.int16"), -3);
  EXPECT_EQ(*metadata.RequireSize("test.uint32"), 3000000000U);
  EXPECT_EQ(**metadata.Number("test.int32"), -5);
  EXPECT_EQ(**metadata.Number("test.float32"), double{0.1F});
  EXPECT_EQ(*metadata.RequireSize("test.uint64"), std::size_t{1} << 40);
  EXPECT_EQ(**metadata.Number("test.int64"), -0x1p40);
  EXPECT_EQ(**metadata.Number("test.float64"), 0.1);
  EXPECT_EQ(**metadata.Bool("test.bool"), true);
  EXPECT_EQ(*metadata.RequireString("test.string"), "Ünïcode");
  EXPECT_EQ(*metadata.Strings("test.array"), (std::vector<std::string_view>{"a", "", "ccc"}));
  EXPECT_EQ(*metadata.Numbers("test.floats"), (std::vector<double>{0.5, -1}));
  ASSERT_EQ(file->tensors().size(), 3U);
  const GgufTensor& a = file->tensors()[0];
  EXPECT_EQ(a.shape, (Shape{2, 3}));
  float last = 0;
  std::memcpy(&last, file->Bytes(a).data() + 20, sizeof(last));
  EXPECT_EQ(last, 5);
  EXPECT_EQ(file->tensors()[1].type->name, "F16");
  EXPECT_EQ(file->tensors()[2].type->name, "Q4_0");
  EXPECT_EQ(file->tensors()[2].shape, (Shape{3, 64}));
}

// No single damaged byte of a header may do more than change what is read.
TEST(Gguf, SurvivesEveryFlippedByteAndEveryLength) {
  GgufBuilder builder = Sample();
  std::string good = builder.Finish();
  good.resize(builder.tensors()[1].offset_bytes + 20);
  for (std::size_t i = 0; i < good.size(); ++i) {
    for (const int flip : {1, 2, 16, 128, 255}) {
      std::string bad = good;
      bad[i] = static_cast<char>(bad[i] ^ flip);
      const auto read = Parse(bad);
      if (!read.ok()) continue;
      for (const GgufTensor& tensor : read->tensors) {
        EXPECT_LE(tensor.offset_bytes + tensor.size_bytes, bad.size());
      }
    }
    EXPECT_FALSE(Parse(good.substr(0, i)).ok());
  }
}

TEST(GgufWriter, IsWholeOrNotThere) {
  const testing::TemporaryDirectory directory;
  const fs::path path = directory.path() / "m.gguf";
  const std::string weights(3 * 2 * 18, 'w');
  const std::string bias(20, 'b');
  {
    auto writer = GgufWriter::Create(path, Sample());
    ASSERT_TRUE(writer.ok()) << writer.error().message;
    EXPECT_TRUE(fs::exists(directory.path() / "m.gguf.partial"));
    ASSERT_TRUE(writer->Write("w", 0, std::as_bytes(std::span(weights))).ok());
  }
  EXPECT_TRUE(fs::is_empty(directory.path()));
  auto writer = GgufWriter::Create(path, Sample());
  ASSERT_TRUE(writer.ok()) << writer.error().message;
  ASSERT_TRUE(writer->Write("b", 0, std::as_bytes(std::span(bias))).ok());
  const auto all = std::as_bytes(std::span(weights));
  ASSERT_TRUE(writer->Write("w", 10, all.subspan(10)).ok());
  ASSERT_TRUE(writer->Write("w", 0, all.first(10)).ok());
  EXPECT_FALSE(fs::exists(path));
  ASSERT_TRUE(writer->Finish().ok());
  const auto file = GgufFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_EQ(fs::file_size(path), writer->file_bytes());
  const auto stored = file->Bytes(file->tensors()[1]);
  EXPECT_EQ(std::memcmp(stored.data(), bias.data(), bias.size()), 0);
  const auto again = GgufWriter::Create(path, Sample());
  ASSERT_FALSE(again.ok());
  EXPECT_NE(again.error().message.find("exists already"), std::string::npos);
}

TEST(GgufBuilder, RefusesRowsThatAreNoWholeBlocks) {
  GgufBuilder builder;
  const Status added = builder.AddTensor("w", GgmlType::kQ8_0, {4, 172});
  ASSERT_FALSE(added.ok());
  EXPECT_NE(added.error().message.find("172"), std::string::npos);
}

TEST(FindGguf, TakesAFileOrADirectoryThatHoldsOne) {
  const testing::TemporaryDirectory directory;
  const fs::path folder = directory.path();
  EXPECT_FALSE(*FindGguf(folder));
  ASSERT_TRUE(WriteFileAtomically(folder / "a.gguf", "GGUF").ok());
  EXPECT_EQ(**FindGguf(folder), folder / "a.gguf");
  EXPECT_EQ(**FindGguf(folder / "a.gguf"), folder / "a.gguf");
  ASSERT_TRUE(WriteFileAtomically(folder / "b.gguf", "GGUF").ok());
  const auto two = FindGguf(folder);
  ASSERT_FALSE(two.ok());
  EXPECT_NE(two.error().message.find("2 GGUF files (a.gguf, b.gguf"), std::string::npos);
  ASSERT_TRUE(WriteFileAtomically(folder / "config.json", "{}").ok());
  EXPECT_FALSE(*FindGguf(folder));
  EXPECT_FALSE(*FindGguf(folder / "config.json"));
}

}  // namespace
}  // namespace awq::io
