// Calibration as quantize asks for it, on the bundled model.
#include "api/calibration.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "testing/paths.h"

namespace awq {
namespace {

namespace fs = std::filesystem;

struct Request {
  std::string source;
  std::size_t samples = 3;
  std::optional<Bos> bos = std::nullopt;
  std::uint64_t seed = 0;
};

class CalibrationTest : public ::testing::Test {
 protected:
  Result<calib::CalibrationTokens> Run(const Request& request) {
    const auto prepared = api::PrepareCalibration(*model_,
                                                  {.source = request.source,
                                                   .samples = request.samples,
                                                   .sequence_tokens = 32,
                                                   .bos = request.bos,
                                                   .seed = request.seed},
                                                  Runtime{});
    if (!prepared) return prepared.error();
    ThreadPool pool(2);
    return api::Calibrate(pool, *model_, *prepared);
  }
  std::string Write(const std::string& name, const std::string& contents) {
    const fs::path path = scratch_.path() / name;
    std::ofstream(path, std::ios::binary) << contents;
    return path.string();
  }

  fs::path path_ = testing::SourceDir() / "models" / "little-stories";
  std::unique_ptr<checkpoint::StoredModel> model_ = checkpoint::OpenModel(path_).value();
  std::int32_t bos_ = static_cast<std::int32_t>(*model_->config().bos_token_id);
  testing::TemporaryDirectory scratch_;
};

TEST_F(CalibrationTest, EveryWindowBeginsWithBosUnlessToldOtherwise) {
  const std::string text = (path_ / "heldout.txt").string();
  const auto by_default = Run({.source = text});
  ASSERT_TRUE(by_default.ok()) << by_default.error().message;
  ASSERT_EQ(by_default->ids.rows(), 3U);
  for (std::size_t row = 0; row < 3; ++row) EXPECT_EQ(by_default->ids(row, 0), bos_);
  const auto never = Run({.source = text, .bos = Bos::kNever});
  ASSERT_TRUE(never.ok());
  EXPECT_EQ(std::count(never->ids.span().begin(), never->ids.span().end(), bos_), 0);
  // The same text: BOS takes the place of one token.
  EXPECT_TRUE(
      std::equal(by_default->ids.row(0) + 1, by_default->ids.row(0) + 32, never->ids.row(0)));
}

TEST_F(CalibrationTest, TheBuiltInTextIsTheDefaultAndFillsTheWindows) {
  const auto by_default = Run({.source = Calibration{}.source, .samples = 128});
  ASSERT_TRUE(by_default.ok()) << by_default.error().message;
  EXPECT_EQ(by_default->ids.rows(), 128U);
  EXPECT_NE(by_default->source.find("the built-in text"), std::string::npos);
  const auto by_name = Run({.source = "builtin", .samples = 128});
  EXPECT_TRUE(std::ranges::equal(by_default->ids.span(), by_name->ids.span()));
}

TEST_F(CalibrationTest, HalfBuiltInHalfItsOwnTakesTurns) {
  const auto both = Run({.source = "builtin+self", .samples = 5});
  ASSERT_TRUE(both.ok()) << both.error().message;
  const auto builtin = Run({.source = "builtin", .samples = 3});
  const auto self = Run({.source = "self", .samples = 2});
  ASSERT_EQ(both->ids.rows(), 5U);
  for (std::size_t row = 0; row < 5; ++row) {
    const auto& from = row % 2 == 0 ? builtin : self;
    EXPECT_TRUE(std::equal(both->ids.row(row), both->ids.row(row) + both->ids.cols(),
                           from->ids.row(row / 2)))
        << row;
  }
}

TEST_F(CalibrationTest, TheModelsOwnTextIsOrdinaryVariedAndRepeatable) {
  const auto first = Run({.source = "self", .samples = 8});
  ASSERT_TRUE(first.ok()) << first.error().message;
  const auto again = Run({.source = "self", .samples = 8});
  EXPECT_TRUE(std::ranges::equal(first->ids.span(), again->ids.span()));
  const auto other = Run({.source = "self", .samples = 8, .seed = 1});
  EXPECT_FALSE(std::ranges::equal(first->ids.span(), other->ids.span()));
  const auto tokenizer = text::Tokenizer::Load(path_).value();
  std::set<std::vector<std::int32_t>> beginnings;
  for (std::size_t row = 0; row < 8; ++row) {
    EXPECT_EQ(first->ids(row, 0), bos_);
    for (std::size_t t = 1; t < 32; ++t) EXPECT_FALSE(tokenizer->IsSpecial(first->ids(row, t)));
    beginnings.emplace(first->ids.row(row), first->ids.row(row) + 8);
  }
  EXPECT_GE(beginnings.size(), 7U);
}

TEST_F(CalibrationTest, JsonLinesAreTheirTexts) {
  std::string lines;
  for (int i = 0; i < 20; ++i)
    lines += R"({"text": "Once upon a time there was a dog."})"
             "\n";
  const auto named = Run({.source = Write("a.jsonl", lines)});
  ASSERT_TRUE(named.ok());
  for (const char* name : {"a.json", "a.JSONL", "a.txt"}) {
    const auto other = Run({.source = Write(name, lines)});
    ASSERT_TRUE(other.ok()) << name;
    EXPECT_TRUE(std::ranges::equal(other->ids.span(), named->ids.span())) << name;
  }
  // Lines with much beside the text: more of the file is read until there is enough.
  std::string padded;
  for (int i = 0; i < 400; ++i) {
    padded += R"({"text": "Once upon a time there was a dog.", "x": ")" + std::string(20000, 'x') +
              "\"}\n";
  }
  const auto wide = Run({.source = Write("wide.jsonl", padded), .samples = 64});
  ASSERT_TRUE(wide.ok());
  EXPECT_EQ(wide->ids.rows(), 64U);
  const auto broken = Run({.source = Write("b.jsonl", lines + "{\"body\": \"x\"}\n")});
  ASSERT_FALSE(broken.ok());
  EXPECT_NE(broken.error().message.find("b.jsonl:21"), std::string::npos);
}

TEST_F(CalibrationTest, WhatIsNoTextIsRefused) {
  std::string noise;
  for (int i = 0; i < 20000; ++i) noise += static_cast<char>(1 + (i * 7919 + i / 255) % 255);
  const std::string text(1000, 'a');  // what is behind the part that is used is not read
  for (const std::string& contents :
       {noise, text + std::string(2000, '\0'), std::string(), std::string(" \n\t ")}) {
    const auto tokens = Run({.source = Write("noise.txt", contents)});
    ASSERT_FALSE(tokens.ok());
    EXPECT_NE(tokens.error().message.find("noise.txt"), std::string::npos);
  }
}

TEST_F(CalibrationTest, AShortTextGivesFewerWindowsAndSaysSo) {
  std::string text;
  for (int i = 0; i < 6; ++i) text += "Once upon a time there was a little dog. ";
  const auto tokens = Run({.source = Write("short.txt", text), .samples = 100});
  ASSERT_TRUE(tokens.ok()) << tokens.error().message;
  EXPECT_LT(tokens->ids.rows(), 100U);
  EXPECT_NE(tokens->source.find("the text holds no more"), std::string::npos);
  const auto none = Run({.source = Write("tiny.txt", "Once upon")});
  ASSERT_FALSE(none.ok());
  EXPECT_NE(none.error().message.find("tokens"), std::string::npos);
}

}  // namespace
}  // namespace awq
