// Against what the `tokenizers` package gave (tools/make_tokenizer_golden.py) and against
// llama.cpp's vectors.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "io/file.h"
#include "io/json.h"
#include "testing/paths.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace awq::text {
namespace {

using Ids = std::vector<std::int32_t>;

std::string BytesOfHex(const std::string& hex) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

std::string Fnv1a64(const Ids& ids) {
  std::uint64_t hash = 0xCBF29CE484222325ULL;
  for (const std::int32_t id : ids) {
    for (int shift = 0; shift < 32; shift += 8) {
      hash ^= static_cast<std::uint32_t>(id) >> shift & 0xFF;
      hash *= 0x100000001B3ULL;
    }
  }
  std::ostringstream text;
  text << std::hex;
  text.width(16);
  text.fill('0');
  text << hash;
  return text.str();
}

std::string Streamed(const std::shared_ptr<const Tokenizer>& tokenizer, const Ids& ids) {
  StreamingDecoder decoder(tokenizer, true);
  std::string text;
  for (const std::int32_t id : ids) {
    const std::string part = decoder.Feed(id);
    EXPECT_TRUE(IsValidUtf8(part));
    text += part;
  }
  return text + decoder.Flush();
}

class TokenizerGoldenTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const auto golden =
        io::ReadJson(testing::GoldenDir() / "tokenizers" / (GetParam() + std::string(".json")));
    ASSERT_TRUE(golden.ok()) << golden.error().message;
    golden_ = *golden;
    std::string file = golden_.at("tokenizer");
    if (file.starts_with("data/")) {
      file = (testing::DataDir() / file.substr(5)).string();
    } else {
      file = (testing::SourceDir() / file).string();
    }
    if (!std::filesystem::exists(file)) {
      GTEST_SKIP() << "needs " << file << "; point AWQ_TEST_DATA at the shared data";
    }
    auto loaded = Tokenizer::Load(std::filesystem::path(file).parent_path());
    ASSERT_TRUE(loaded.ok()) << loaded.error().message;
    tokenizer_ = *loaded;
  }

  nlohmann::json golden_;
  std::shared_ptr<const Tokenizer> tokenizer_;
};

TEST_P(TokenizerGoldenTest, Cases) {
  const Ids prefix = golden_.at("special_prefix");
  const Ids suffix = golden_.at("special_suffix");
  for (const auto& entry : golden_.at("cases")) {
    const std::string text = BytesOfHex(entry.at("text"));
    const Ids expected = entry.at("ids");
    const auto plain = tokenizer_->Encode(text, false);
    ASSERT_TRUE(plain.ok()) << plain.error().message;
    ASSERT_EQ(*plain, expected) << text;

    Ids full = prefix;
    full.insert(full.end(), expected.begin(), expected.end());
    full.insert(full.end(), suffix.begin(), suffix.end());
    const auto special = tokenizer_->Encode(text, true);
    ASSERT_TRUE(special.ok());
    ASSERT_EQ(*special, full) << text;

    const std::string decoded = entry.contains("decoded") ? BytesOfHex(entry.at("decoded")) : text;
    ASSERT_EQ(tokenizer_->Decode(full, true), decoded);
    ASSERT_EQ(Streamed(tokenizer_, full), decoded);
  }
}

TEST_P(TokenizerGoldenTest, WholeTexts) {
  for (const auto& entry : golden_.at("texts")) {
    const std::string file = entry.at("file");
    AWQ_NEEDS_DATA("text/" + file);
    const auto text = io::ReadFile(testing::DataDir() / "text" / file);
    ASSERT_TRUE(text.ok());
    const auto ids = tokenizer_->Encode(*text, false);
    ASSERT_TRUE(ids.ok()) << ids.error().message;
    EXPECT_EQ(ids->size(), entry.at("count").get<std::size_t>()) << file;
    EXPECT_EQ(Fnv1a64(*ids), entry.at("fnv1a64").get<std::string>()) << file;
  }
}

INSTANTIATE_TEST_SUITE_P(Tokenizers, TokenizerGoldenTest,
                         ::testing::Values("gpt2", "llama2", "mistral", "qwen2_5", "smollm2",
                                           "stories15M", "stories260K", "minimind2-small",
                                           "little-stories", "added_tokens"),
                         [](const auto& parameter) {
                           std::string name = parameter.param;
                           for (char& c : name) c = c == '-' ? '_' : c;
                           return name;
                         });

// llama.cpp's inputs, and the ids that it expects of the tokenizers they were made with.
void CompareVectors(const std::string& vectors, const std::string& name) {
  const auto base = testing::DataDir() / "tokenizers";
  const auto tokenizer = Tokenizer::Load(base / name);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  const auto inputs = io::ReadFile(base / (vectors + ".gguf.inp"));
  const auto outputs = io::ReadFile(base / (vectors + ".gguf.out"));
  ASSERT_TRUE(inputs.ok() && outputs.ok());
  const std::string separator = "\n__ggml_vocab_test__\n";
  std::istringstream lines(*outputs);
  std::string line;
  std::size_t start = 0;
  std::size_t count = 0;
  for (; std::getline(lines, line); ++count) {
    const std::size_t end = inputs->find(separator, start);
    ASSERT_NE(end, std::string::npos);
    const std::string text = inputs->substr(start, end - start);
    start = end + separator.size();
    std::istringstream numbers(line);
    Ids expected;
    for (std::int32_t id; numbers >> id;) expected.push_back(id);
    const auto ids = (*tokenizer)->Encode(text, false);
    ASSERT_TRUE(ids.ok());
    EXPECT_EQ(*ids, expected) << name << ", input " << count << ": " << text;
  }
  EXPECT_GT(count, 40U);
}

TEST(TokenizerVectorsTest, Gpt2) {
  AWQ_NEEDS_DATA("tokenizers/ggml-vocab-gpt-2.gguf.inp");
  CompareVectors("ggml-vocab-gpt-2", "gpt2");
}
TEST(TokenizerVectorsTest, LlamaSpm) {
  AWQ_NEEDS_DATA("tokenizers/ggml-vocab-llama-spm.gguf.inp");
  CompareVectors("ggml-vocab-llama-spm", "llama2");
}
TEST(TokenizerVectorsTest, Qwen2) {
  AWQ_NEEDS_DATA("tokenizers/ggml-vocab-qwen2.gguf.inp");
  CompareVectors("ggml-vocab-qwen2", "qwen2_5");
}

}  // namespace
}  // namespace awq::text
