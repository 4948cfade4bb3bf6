#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <thread>
#include <vector>

#include "text/test_tokenizer.h"
#include "text/utf8.h"

namespace awq::text {
namespace {

using Ids = std::vector<std::int32_t>;
using nlohmann::json;

Ids EncodeOk(const std::shared_ptr<const Tokenizer>& tokenizer, std::string_view text) {
  const auto ids = tokenizer->Encode(text, false);
  EXPECT_TRUE(ids.ok()) << (ids.ok() ? "" : ids.error().message);
  return ids.ok() ? *ids : Ids();
}

TEST(TokenizerTest, MergesWordsAndFindsAddedTokens) {
  const auto tokenizer = MakeTokenizer(TestTokenizerJson());
  EXPECT_EQ(EncodeOk(tokenizer, "abc ab<s>a"), Ids({257, ' ', 256, 259, 'a'}));
  EXPECT_EQ(tokenizer->Decode(Ids({257, 259, 258}), false), "abc<s> a");
  EXPECT_EQ(tokenizer->Decode(Ids({257, 259, 258}), true), "abc a");
  EXPECT_EQ(tokenizer->vocab_size(), 261U);
  EXPECT_EQ(tokenizer->TokenToId("</s>"), 260);
  EXPECT_EQ(tokenizer->IdToToken(258), "Ġa");
  EXPECT_TRUE(tokenizer->IsSpecial(259));
  EXPECT_FALSE(tokenizer->IsSpecial(-1));
  EXPECT_FALSE(tokenizer->IdToToken(261).has_value());
  EXPECT_EQ(tokenizer->Decode(Ids({-5, 100000, 'x'}), false), "x");
}

TEST(TokenizerTest, RandomBytesGoRoundAsPythonReadsThem) {
  const auto tokenizer = MakeTokenizer(TestTokenizerJson());
  std::mt19937 random(3);
  for (int round = 0; round < 3000; ++round) {
    std::string bytes;
    for (auto left = random() % 40; left > 0; --left) {
      bytes.push_back(static_cast<char>(random() % (round % 2 == 0 ? 256 : 128)));
    }
    const Ids ids = EncodeOk(tokenizer, bytes);
    ASSERT_EQ(tokenizer->Decode(ids, false), ReplaceInvalidUtf8(bytes));
  }
}

TEST(TokenizerTest, StreamingNeverBreaksACharacter) {
  const auto tokenizer = MakeTokenizer(TestTokenizerJson());
  std::mt19937 random(5);
  for (int round = 0; round < 3000; ++round) {
    Ids ids;
    for (auto left = random() % 30; left > 0; --left) {
      // Lead and continuation bytes of all lengths, now and then something else.
      ids.push_back(static_cast<std::int32_t>(0x80 + random() % (256 - 0x80 + 6)));
    }
    StreamingDecoder decoder(tokenizer, round % 2 == 0);
    std::string text;
    for (const std::int32_t id : ids) {
      const std::string part = decoder.Feed(id);
      ASSERT_TRUE(IsValidUtf8(part));
      text += part;
    }
    text += decoder.Flush();
    ASSERT_EQ(text, tokenizer->Decode(ids, round % 2 == 0));
  }
  StreamingDecoder decoder(tokenizer, false);
  for (const int lead : {0xF0, 0x9F, 0x98}) EXPECT_EQ(decoder.Feed(lead), "");
  EXPECT_EQ(decoder.Feed(0x80), "\U0001F600");
  EXPECT_EQ(decoder.Feed(0xE2), "");
  EXPECT_EQ(decoder.Flush(), kReplacementUtf8);
  EXPECT_EQ(decoder.Feed('a'), "a");  // begins anew
}

TEST(TokenizerTest, ManyThreadsAtOnce) {
  const auto tokenizer = MakeTokenizer(TestTokenizerJson());
  std::string text;
  for (int i = 0; i < 2000; ++i) text += "abc ab " + std::to_string(i) + " \u00e9<s>";
  const Ids expected = EncodeOk(tokenizer, text);
  std::vector<Ids> results(4);
  std::vector<std::thread> threads;
  for (Ids& result : results) {
    threads.emplace_back([&] { result = *tokenizer->Encode(text, false); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Ids& result : results) EXPECT_EQ(result, expected);
}

json SentencePieceJson() {
  json vocab = {{"<unk>", 0}, {"\u2581", 1}, {"a", 2}, {"b", 3}, {"\u2581a", 4}, {"ab", 5}};
  vocab["<0xC3>"] = 6;
  vocab["<0xA9>"] = 7;
  return json::parse(R"({"added_tokens": [{"id": 0, "content": "<unk>", "special": true}],
      "normalizer": {"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": "\u2581"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]},
      "decoder": {"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
        {"type": "ByteFallback"}, {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}})")
      .patch(json::array({{{"op", "add"},
                           {"path", "/model"},
                           {"value",
                            {{"type", "BPE"},
                             {"vocab", vocab},
                             {"merges", json::array({{"\u2581", "a"}, {"a", "b"}})},
                             {"unk_token", "<unk>"},
                             {"fuse_unk", true},
                             {"byte_fallback", true}}}}}));
}

TEST(TokenizerTest, SentencePieceStyle) {
  const auto tokenizer = MakeTokenizer(SentencePieceJson());
  EXPECT_EQ(EncodeOk(tokenizer, "ab ab"), Ids({4, 3, 4, 3}));
  EXPECT_EQ(EncodeOk(tokenizer, "\u00e9"), Ids({1, 6, 7}));    // bytes
  EXPECT_EQ(EncodeOk(tokenizer, "\u4e2dxb"), Ids({1, 0, 3}));  // unknown, fused
  EXPECT_EQ(EncodeOk(tokenizer, ""), Ids());
  EXPECT_EQ(tokenizer->Decode(Ids({4, 3, 1, 6, 7}), false), "ab \u00e9");
  EXPECT_EQ(tokenizer->Decode(Ids({4, 6}), false), "a\uFFFD");
  StreamingDecoder decoder(tokenizer, false);
  EXPECT_EQ(decoder.Feed(4), "a");
  EXPECT_EQ(decoder.Feed(6), "");
  EXPECT_EQ(decoder.Feed(7), "");  // a further byte could still spoil the run
  EXPECT_EQ(decoder.Feed(3),
            "\u00e9"
            "b");
}

// The cut at U+2581 must not change what a merge across it would do.
TEST(TokenizerTest, MergesAcrossMetaspaceAreKept) {
  json file = SentencePieceJson();
  file["model"]["vocab"]["b\u2581"] = 8;
  file["model"]["merges"].insert(file["model"]["merges"].begin(), json({"b", "\u2581"}));
  EXPECT_EQ(EncodeOk(MakeTokenizer(file), "ab ab"), Ids({4, 8, 5}));
}

TEST(TokenizerTest, OneLetterAMillionTimes) {
  const std::string letters(1 << 20, 'a');
  const auto bytes = MakeTokenizer(TestTokenizerJson());
  EXPECT_EQ(EncodeOk(bytes, letters).size(), letters.size());
  json file = SentencePieceJson();
  file["model"]["vocab"]["aa"] = 8;
  file["model"]["vocab"]["aaaa"] = 9;
  file["model"]["merges"].push_back({"a", "a"});
  file["model"]["merges"].push_back({"aa", "aa"});
  // U+2581 takes the first letter; of the 2^20 - 1 left, 3 are over.
  EXPECT_EQ(EncodeOk(MakeTokenizer(file), letters).size(), 1 + (letters.size() - 4) / 4 + 2);
}

struct Hostile {
  const char* path;  // JSON pointer
  json value;
  ErrorCode code;
  const char* field;  // must stand in the message
};

TEST(TokenizerHostileTest, ErrorsNameTheField) {
  const json deep = json::parse(R"({"type": "Sequence", "normalizers": [{"type": "NFC"}]})");
  json nested = deep;
  for (int i = 0; i < 30; ++i) nested = {{"type", "Sequence"}, {"normalizers", {nested}}};
  const auto split = [](const char* pattern) {
    return json{{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}};
  };
  const json template_of = {{"type", "TemplateProcessing"}, {"special_tokens", json::object()}};
  const auto with_single = [&](const json& single) {
    json whole = template_of;
    whole["single"] = single;
    return whole;
  };
  const auto kCorrupt = ErrorCode::kCorrupt;
  const auto kUnsupported = ErrorCode::kUnsupported;
  const Hostile cases[] = {
      {"/model", nullptr, kCorrupt, "model"},
      {"/model", 7, kCorrupt, "model"},
      {"/model/type", "WordPiece", kUnsupported, "WordPiece"},
      {"/model/type", "Unigram", kUnsupported, "Unigram"},
      {"/model/dropout", 0.1, kUnsupported, "model.dropout"},
      {"/model/vocab", json::array(), kCorrupt, "model.vocab"},
      {"/model/vocab/ab", -1, kCorrupt, "model.vocab[\"ab\"]"},
      {"/model/vocab/ab", 1e30, kCorrupt, "model.vocab[\"ab\"]"},
      {"/model/vocab/ab", std::uint64_t{1} << 63, kCorrupt, "model.vocab[\"ab\"]"},
      {"/model/vocab/ab", 1 << 23, kCorrupt, "model.vocab[\"ab\"]"},
      {"/model/vocab/ab", "256", kCorrupt, "model.vocab[\"ab\"]"},
      {"/model/vocab/ab", 257, kCorrupt, "the same"},
      {"/model/merges", 1, kCorrupt, "model.merges"},
      {"/model/merges/0", "a x y", kCorrupt, "model.merges[0]"},
      {"/model/merges/1", {"ab", "nothing"}, kCorrupt, "model.merges[1]"},
      {"/model/merges/1", {"ab", 3}, kCorrupt, "model.merges[1]"},
      {"/model/merges/1", "b a", kCorrupt, "\"ba\""},
      {"/added_tokens", 3, kCorrupt, "added_tokens"},
      {"/added_tokens/0/id", -1, kCorrupt, "added_tokens[0].id"},
      {"/added_tokens/0/id", 1e20, kCorrupt, "added_tokens[0].id"},
      {"/added_tokens/1/id", 259, kCorrupt, "added_tokens[1].id"},
      {"/added_tokens/0/content", 5, kCorrupt, "added_tokens[0].content"},
      {"/added_tokens/0/content", std::string(5000, 'x'), kUnsupported, "added_tokens[0].content"},
      {"/added_tokens/0/lstrip", "yes", kCorrupt, "added_tokens[0].lstrip"},
      {"/normalizer", {{"type", "Precompiled"}}, kUnsupported, "Precompiled"},
      {"/normalizer", {{"type", 4}}, kCorrupt, "normalizer.type"},
      {"/normalizer", nested, kUnsupported, "nested"},
      {"/normalizer",
       {{"type", "Prepend"}, {"prepend", std::string(300, 'x')}},
       kUnsupported,
       "normalizer.prepend"},
      {"/pre_tokenizer", {{"type", "BertPreTokenizer"}}, kUnsupported, "BertPreTokenizer"},
      {"/pre_tokenizer", split("(a"), kCorrupt, "pre_tokenizer.pattern.Regex"},
      {"/pre_tokenizer", split("(?<=a+)b"), kCorrupt, "pre_tokenizer.pattern.Regex"},
      {"/pre_tokenizer", split("(a)\\1"), kUnsupported, "pre_tokenizer.pattern.Regex"},
      {"/pre_tokenizer", split("((a{900}){900}){900}"), kCorrupt, "pre_tokenizer.pattern.Regex"},
      {"/decoder", {{"type", "WordPiece"}}, kUnsupported, "WordPiece"},
      {"/decoder",
       {{"type", "Strip"}, {"content", "ab"}, {"start", 1}, {"stop", 0}},
       kCorrupt,
       "decoder.content"},
      {"/decoder",
       {{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", std::string(9999, 'a')}},
       kUnsupported,
       "lengthen"},
      {"/post_processor", with_single(json::array()), kCorrupt, "post_processor.single"},
      {"/post_processor", with_single({{{"Sequence", {{"id", "B"}}}}}), kUnsupported, "single[0]"},
      {"/post_processor", with_single({{{"SpecialToken", {{"id", "<x>"}}}}}), kCorrupt,
       "single[0].SpecialToken.id"},
      {"/post_processor",
       {{"type", "BertProcessing"}, {"cls", {"c", 9999}}, {"sep", {"s", 1}}},
       kCorrupt,
       "9999"},
  };
  for (const Hostile& hostile : cases) {
    json file = TestTokenizerJson();
    file[json::json_pointer(hostile.path)] = hostile.value;
    const Error error = LoadError(file);
    EXPECT_EQ(error.code, hostile.code) << hostile.path << ": " << error.message;
    EXPECT_NE(error.message.find(hostile.field), std::string::npos)
        << hostile.path << ": " << error.message;
    EXPECT_TRUE(error.message.starts_with("test.json: ")) << error.message;
  }
  EXPECT_FALSE(Tokenizer::FromJson("[]", "", "test.json").ok());
  EXPECT_FALSE(Tokenizer::FromJson("{", "", "test.json").ok());
  EXPECT_FALSE(Tokenizer::FromJson("", "", "test.json").ok());
  EXPECT_FALSE(Tokenizer::FromJson(TestTokenizerJson().dump(), "[]", "test.json").ok());
  EXPECT_FALSE(Tokenizer::Load("/nowhere").ok());
}

TEST(TokenizerHostileTest, TextsThatGrowAreRefused) {
  json file = TestTokenizerJson();
  const json replace = {
      {"type", "Replace"}, {"pattern", {{"String", "x"}}}, {"content", std::string(250, 'x')}};
  file["normalizer"] = {{"type", "Sequence"},
                        {"normalizers", {replace, replace, replace, replace}}};
  const auto ids = MakeTokenizer(file)->Encode("xxxx", false);
  ASSERT_FALSE(ids.ok());
  EXPECT_EQ(ids.error().code, ErrorCode::kUnsupported);
}

}  // namespace
}  // namespace awq::text
