#include "text/gguf_tokenizer.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "io/file.h"
#include "io/json.h"
#include "testing/paths.h"
#include "text/test_tokenizer.h"
#include "text/tokenizer.h"

namespace awq::text {
namespace {

using nlohmann::json;
using Ids = std::vector<std::int32_t>;

Result<std::shared_ptr<const Tokenizer>> ThroughGguf(const TokenizerFiles& files,
                                                     std::size_t vocab_size) {
  io::GgufBuilder builder;
  AWQ_TRY(AddTokenizerToGguf(files, vocab_size, "t.json", builder));
  const std::string file = builder.Finish();
  AWQ_ASSIGN(const io::GgufHeader header,
             io::ParseGguf(std::as_bytes(std::span(file)), file.size(), "t.gguf"));
  AWQ_ASSIGN(const TokenizerFiles read, TokenizerFromGguf(header.metadata));
  return Tokenizer::FromJson(read.tokenizer, read.config, "t.gguf");
}

std::string BytesOfHex(const std::string& hex) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

class GgufTokenizerGolden : public ::testing::TestWithParam<const char*> {};

// The ids of the `tokenizers` package, from a tokenizer that went through GGUF.
TEST_P(GgufTokenizerGolden, GivesTheSameIds) {
  const auto golden =
      io::ReadJson(testing::GoldenDir() / "tokenizers" / (GetParam() + std::string(".json")));
  ASSERT_TRUE(golden.ok());
  std::string path = golden->at("tokenizer");
  if (path.starts_with("data/")) {
    AWQ_NEEDS_DATA(path.substr(5));
    path = (testing::DataDir() / path.substr(5)).string();
  } else {
    path = (testing::SourceDir() / path).string();
  }
  const auto tokenizer_json = io::ReadFile(path);
  const auto config =
      io::ReadFile(std::filesystem::path(path).parent_path() / "tokenizer_config.json");
  ASSERT_TRUE(tokenizer_json.ok() && config.ok());
  const auto original = Tokenizer::FromJson(*tokenizer_json, *config, path);
  ASSERT_TRUE(original.ok());
  const auto read = ThroughGguf({.tokenizer = *tokenizer_json, .config = *config},
                                static_cast<std::size_t>((*original)->max_id()) + 1);
  ASSERT_TRUE(read.ok()) << read.error().message;
  for (const auto& entry : golden->at("cases")) {
    const std::string text = BytesOfHex(entry.at("text"));
    const auto ids = (*read)->Encode(text, false);
    ASSERT_TRUE(ids.ok());
    EXPECT_EQ(*ids, entry.at("ids").get<Ids>()) << text;
    EXPECT_EQ(*(*read)->Encode(text, true), *(*original)->Encode(text, true));
    EXPECT_EQ((*read)->Decode(*ids, true), (*original)->Decode(*ids, true));
  }
  EXPECT_EQ((*read)->bos_id(), (*original)->bos_id());
  EXPECT_EQ((*read)->eos_id(), (*original)->eos_id());
}

INSTANTIATE_TEST_SUITE_P(Tokenizers, GgufTokenizerGolden,
                         ::testing::Values("gpt2", "llama2", "mistral", "qwen2_5", "smollm2",
                                           "stories15M", "stories260K", "minimind2-small",
                                           "little-stories"),
                         [](const auto& parameter) {
                           std::string name = parameter.param;
                           for (char& c : name) c = c == '-' ? '_' : c;
                           return name;
                         });

std::string WriteError(const json& tokenizer, std::size_t vocab_size = 300) {
  io::GgufBuilder builder;
  const Status status =
      AddTokenizerToGguf({.tokenizer = tokenizer.dump(), .config = ""}, vocab_size, "t", builder);
  return status.ok() ? "" : status.error().message;
}

TEST(GgufTokenizer, RefusesToWriteWhatGgufCannotSay) {
  const json plain = TestTokenizerJson();
  EXPECT_EQ(WriteError(plain), "");
  EXPECT_NE(WriteError(plain, 200).find("ids up to 260"), std::string::npos);
  json lower = plain;
  lower["normalizer"] = {{"type", "Lowercase"}};
  EXPECT_NE(WriteError(lower).find("no `pre`"), std::string::npos);
  json words = plain;
  words["pre_tokenizer"] = {
      {"type", "Sequence"},
      {"pretokenizers",
       {{{"type", "Split"}, {"pattern", {{"Regex", "x+"}}}, {"behavior", "Isolated"}},
        {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}}}};
  EXPECT_NE(WriteError(words).find("no `pre`"), std::string::npos);
  const json pieces = {{"model",
                        {{"type", "BPE"},
                         {"byte_fallback", true},
                         {"vocab", {{"a", 0}, {"b", 1}, {"ab", 2}, {"ba", 3}, {"aba", 4}}},
                         {"merges", {"a b", "b a", "ab a"}}}}};
  EXPECT_NE(WriteError(pieces).find("\"aba\" can be joined from two tokens in 2 ways"),
            std::string::npos)
      << WriteError(pieces);
}

std::string ReadError(const std::function<void(io::GgufBuilder&)>& fill) {
  io::GgufBuilder builder;
  fill(builder);
  const std::string file = builder.Finish();
  const auto header = io::ParseGguf(std::as_bytes(std::span(file)), file.size(), "t.gguf");
  EXPECT_TRUE(header.ok());
  const auto read = TokenizerFromGguf(header->metadata);
  return read.ok() ? "" : read.error().message;
}

TEST(GgufTokenizer, RefusesWhatItCannotRead) {
  using Strings = std::vector<std::string>;
  const auto with = [](
                        const char* model, Strings tokens,
                        std::function<void(io::GgufBuilder&)> more = [](io::GgufBuilder&) {}) {
    return ReadError([=](io::GgufBuilder& builder) {
      builder.AddString("tokenizer.ggml.model", model);
      builder.AddStrings("tokenizer.ggml.tokens", tokens);
      more(builder);
    });
  };
  EXPECT_NE(ReadError([](io::GgufBuilder&) {}).find("tokenizer.ggml.model is missing"),
            std::string::npos);
  EXPECT_NE(with("bert", {"a"}).find("\"bert\" is not supported"), std::string::npos);
  EXPECT_NE(with("gpt2", {}).find("1 to"), std::string::npos);
  EXPECT_NE(with("gpt2", {"a", "a"}).find("both \"a\""), std::string::npos);
  EXPECT_NE(with("gpt2", {"\xff"}).find("UTF-8"), std::string::npos);
  EXPECT_NE(with("gpt2", {std::string(2000, 'a')}).find("at most 1024 bytes"), std::string::npos);
  EXPECT_NE(with("gpt2", {"a"}).find("pre \"default\" is not supported"), std::string::npos);
  EXPECT_NE(with("llama", {"a"}).find("scores is not 1 numbers"), std::string::npos);
  const auto key = [](const char* name, std::uint32_t value) {
    return [=](io::GgufBuilder& builder) {
      builder.AddString("tokenizer.ggml.pre", "gpt-2");
      builder.AddU32(name, value);
    };
  };
  EXPECT_EQ(with("gpt2", {"a"}, key("tokenizer.ggml.bos_token_id", 0)), "");
  EXPECT_NE(with("gpt2", {"a"}, key("tokenizer.ggml.bos_token_id", 1)).find("below 1"),
            std::string::npos);
  EXPECT_NE(with("gpt2", {"a"},
                 [](io::GgufBuilder& builder) {
                   builder.AddI32s("tokenizer.ggml.token_type", Ids{1, 1});
                 })
                .find("token_type"),
            std::string::npos);
}

// Where every cut of a token gives two tokens, merges are many more than tokens.
TEST(GgufTokenizer, BoundsTheMergesOfAVocabulary) {
  const auto error_of_runs = [](std::string_view characters, std::size_t longest) {
    std::vector<std::string> tokens = {"<unk>"};
    for (const char c : characters) {
      for (std::size_t bytes = 1; bytes <= longest; ++bytes) tokens.emplace_back(bytes, c);
    }
    return ReadError([&](io::GgufBuilder& builder) {
      builder.AddString("tokenizer.ggml.model", "llama");
      builder.AddStrings("tokenizer.ggml.tokens", tokens);
      builder.AddF32s("tokenizer.ggml.scores", std::vector<float>(tokens.size(), 0));
    });
  };
  EXPECT_EQ(error_of_runs("abc", 100), "");       // 3 * 4950 merges
  EXPECT_EQ(error_of_runs("abcdefghi", 10), "");  // 9 * 45
  // 4 * 4950 are more than 16,384 and 4 for each of 401 tokens.
  const std::string error = error_of_runs("abcd", 100);
  EXPECT_NE(error.find("of 401 tokens can be joined from two others in"), std::string::npos)
      << error;
  EXPECT_NE(error.find("at most 17988 and 16777216 are supported"), std::string::npos) << error;
}

}  // namespace
}  // namespace awq::text
