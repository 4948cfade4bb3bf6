#include "generate/generate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

#include "math/vector.h"
#include "testing/random_model.h"

namespace awq::generate {
namespace {

using kernels::Precision;
using transformer::KvCache;
using transformer::Network;

constexpr std::size_t kPositions = 40;
const std::vector<std::int32_t> kPrompt = {1, 17, 4, 33, 8};

class Generation : public ::testing::Test {
 protected:
  std::unique_ptr<Network> MakeNetwork(ThreadPool& pool) {
    auto network = Network::Create(pool, source_, {Precision::kF32, kPositions, SIZE_MAX});
    return network ? std::move(*network) : nullptr;
  }

  // The most probable continuation, running the whole sequence anew for every token.
  std::vector<std::int32_t> Continue(std::vector<std::int32_t> tokens, std::size_t count) {
    const std::size_t prompt = tokens.size();
    while (tokens.size() < prompt + count) {
      KvCache cache(source_.config(), Precision::kF32, {2, 1, tokens.size()});
      Matrix<float> hidden(tokens.size(), source_.config().hidden_size);
      EXPECT_TRUE(network_->Embed(tokens, hidden));
      EXPECT_TRUE(network_->RunBlocks({{tokens.size(), 0, 0}}, cache, hidden));
      Matrix<float> logits(1, source_.config().vocab_size);
      EXPECT_TRUE(network_->Logits(hidden.view().Rows(tokens.size() - 1, 1), logits));
      tokens.push_back(static_cast<std::int32_t>(math::ArgMax(logits.span())));
    }
    return {tokens.begin() + static_cast<std::ptrdiff_t>(prompt), tokens.end()};
  }

  testing::RandomModel source_{testing::SmallConfig()};
  ThreadPool pool_{2};
  std::unique_ptr<Network> network_ = MakeNetwork(pool_);
};

TEST_F(Generation, GreedyTextIsThatOfWholeSequences) {
  const auto report = Generate(*network_, kPrompt, {.max_new_tokens = 20});
  ASSERT_TRUE(report);
  EXPECT_EQ(report->tokens, Continue(kPrompt, 20));
  EXPECT_EQ(report->stop, StopReason::kLength);
  EXPECT_EQ(report->prompt_tokens, kPrompt.size());
  EXPECT_GT(report->prefill_seconds, 0);
  EXPECT_GT(report->decode_seconds, 0);
}

TEST_F(Generation, WhatThePromptHasIsPenalized) {
  const std::int32_t usual = Continue(kPrompt, 1).back();
  const std::vector<std::int32_t> prompt = {1, 17, usual, 33, 8};
  const std::int32_t first = Continue(prompt, 1).back();
  const std::vector<std::int32_t> with_it = {1, first, usual, 33, 8};
  for (const auto& each : {kPrompt, prompt, with_it}) {
    const auto report =
        Generate(*network_, each, {.max_new_tokens = 1, .sampler = {.repeat_penalty = 100.0F}});
    ASSERT_TRUE(report);
    // A penalty as large leaves nothing that was seen.
    EXPECT_EQ(std::count(each.begin(), each.end(), report->tokens.front()), 0);
  }
}

TEST_F(Generation, StopsWhereItIsTold) {
  const std::vector<std::int32_t> text = Continue(kPrompt, 35);
  const std::int32_t end = text[7];
  const auto first = std::find(text.begin(), text.end(), end) - text.begin();
  auto report = Generate(*network_, kPrompt, {.max_new_tokens = 20, .end_tokens = {end}});
  ASSERT_TRUE(report);
  EXPECT_EQ(report->stop, StopReason::kEnd);
  EXPECT_EQ(report->tokens, std::vector<std::int32_t>(text.begin(), text.begin() + first));

  std::vector<std::int32_t> seen;
  report = Generate(*network_, kPrompt, {.max_new_tokens = 20}, [&](std::int32_t token) {
    seen.push_back(token);
    return seen.size() < 3;
  });
  ASSERT_TRUE(report);
  EXPECT_EQ(report->stop, StopReason::kCaller);
  EXPECT_EQ(report->tokens, std::vector<std::int32_t>(text.begin(), text.begin() + 3));
  EXPECT_EQ(seen, report->tokens);

  report = Generate(*network_, kPrompt, {.max_new_tokens = 1000});
  ASSERT_TRUE(report);
  EXPECT_EQ(report->stop, StopReason::kContext);
  EXPECT_EQ(report->tokens, text);  // 5 and 35 make 40

  report = Generate(*network_, kPrompt, {.max_new_tokens = 0});
  ASSERT_TRUE(report);
  EXPECT_TRUE(report->tokens.empty());
  EXPECT_EQ(report->stop, StopReason::kLength);
}

TEST_F(Generation, ASessionRunsOnlyWhatIsNew) {
  Session session(*network_);
  std::vector<std::int32_t> text = kPrompt;
  const auto first = session.Generate(text, {.max_new_tokens = 6});
  ASSERT_TRUE(first);
  EXPECT_EQ(first->reused_tokens, 0U);
  EXPECT_EQ(first->tokens, Continue(text, 6));
  text.insert(text.end(), first->tokens.begin(), first->tokens.end());
  text.insert(text.end(), {9, 2});
  // The last token of the first answer was drawn, but not run.
  const auto second = session.Generate(text, {.max_new_tokens = 15});
  ASSERT_TRUE(second);
  EXPECT_EQ(second->reused_tokens, kPrompt.size() + 5);
  EXPECT_EQ(second->tokens, Continue(text, 15));
  // Another text from the third token on, then the same again.
  text.assign({1, 17, 30, 31});
  const auto third = session.Generate(text, {.max_new_tokens = 10});
  ASSERT_TRUE(third);
  EXPECT_EQ(third->reused_tokens, 2U);
  EXPECT_EQ(third->tokens, Continue(text, 10));
  const auto again = session.Generate(text, {.max_new_tokens = 10});
  ASSERT_TRUE(again);
  EXPECT_EQ(again->reused_tokens, 3U);
  EXPECT_EQ(again->tokens, third->tokens);
}

TEST_F(Generation, AStoppedPromptLeavesASessionThatGoesOn) {
  Session session(*network_);
  const auto stopped =
      session.Generate(kPrompt, {.max_new_tokens = 6, .goes_on = [] { return false; }});
  ASSERT_TRUE(stopped);
  EXPECT_EQ(stopped->stop, StopReason::kCaller);
  EXPECT_TRUE(stopped->tokens.empty());
  const auto answered = session.Generate(kPrompt, {.max_new_tokens = 6});
  ASSERT_TRUE(answered);
  EXPECT_EQ(answered->tokens, Continue(kPrompt, 6));
}

TEST_F(Generation, RefusesPromptsThatDoNotFit) {
  for (std::size_t length : {std::size_t{0}, kPositions, kPositions + 1}) {
    const std::vector<std::int32_t> prompt(length, 1);
    const auto report = Generate(*network_, prompt, {});
    ASSERT_FALSE(report);
    EXPECT_EQ(report.error().code, ErrorCode::kInvalidArgument);
    const char* const says = length == 0 ? "an empty prompt" : "context of 40";
    EXPECT_NE(report.error().message.find(says), std::string::npos);
  }
  EXPECT_TRUE(Generate(*network_, std::vector<std::int32_t>(kPositions - 1, 1), {}));
  EXPECT_FALSE(Generate(*network_, std::vector<std::int32_t>{1, 50}, {}));
}

Matrix<std::int32_t> Sequences(std::size_t n, std::size_t length) {
  Matrix<std::int32_t> sequences(n, length, -1);
  for (std::size_t s = 0; s < n; ++s) {
    for (std::size_t c = 0; c < 3; ++c) {
      sequences(s, c) = static_cast<std::int32_t>((s * 7 + c * 11 + 1) % 50);
    }
  }
  return sequences;
}

TEST_F(Generation, ABatchAtTemperatureZeroIsEachSequenceAlone) {
  Matrix<std::int32_t> sequences = Sequences(9, 25);
  std::size_t steps = 0;
  BatchOptions options{.given = 3};
  options.on_step = [&](std::size_t step, std::size_t total) {
    EXPECT_EQ(step, ++steps);
    EXPECT_EQ(total, 22U);
  };
  ASSERT_TRUE(GenerateBatch(*network_, sequences, options));
  EXPECT_EQ(steps, 22U);
  const Matrix<std::int32_t> given = Sequences(9, 25);
  for (std::size_t s = 0; s < 9; ++s) {
    const std::vector<std::int32_t> prompt(given.row(s), given.row(s) + 3);
    const std::vector<std::int32_t> all(sequences.row(s), sequences.row(s) + 25);
    EXPECT_TRUE(std::equal(prompt.begin(), prompt.end(), all.begin()));
    EXPECT_EQ(std::vector<std::int32_t>(all.begin() + 3, all.end()), Continue(prompt, 22)) << s;
  }
}

TEST_F(Generation, ThreadsAndCutsOfTheBatchDoNotChangeWhatIsDrawn) {
  BatchOptions options{.given = 3, .sampler = {.temperature = 1, .seed = 9}};
  Matrix<std::int32_t> first = Sequences(12, 30);
  ASSERT_TRUE(GenerateBatch(*network_, first, options));
  for (std::size_t threads : {1U, 3U, 8U}) {
    ThreadPool pool(threads);
    const std::unique_ptr<Network> network = MakeNetwork(pool);
    Matrix<std::int32_t> again = Sequences(12, 30);
    ASSERT_TRUE(GenerateBatch(*network, again, options));
    EXPECT_TRUE(std::ranges::equal(again.span(), first.span())) << threads;
  }
  Matrix<std::int32_t> cut = Sequences(12, 30);
  ASSERT_TRUE(GenerateBatch(*network_, cut.view().Rows(0, 5), options));
  options.first_stream = 5;
  ASSERT_TRUE(GenerateBatch(*network_, cut.view().Rows(5, 7), options));
  EXPECT_TRUE(std::ranges::equal(cut.span(), first.span()));
}

TEST_F(Generation, BannedTokensDoNotOccurAndWideTokensDiffer) {
  Matrix<std::int32_t> sequences(16, 20, 1);
  BatchOptions options{.given = 1, .sampler = {.banned_tokens = {0, 1, 2}}};
  options.sampler.wide_tokens = 4;
  options.sampler.wide_temperature = 5;
  ASSERT_TRUE(GenerateBatch(*network_, sequences, options));
  std::set<std::vector<std::int32_t>> openings;
  for (std::size_t s = 0; s < 16; ++s) {
    for (std::size_t c = 1; c < 20; ++c) ASSERT_GT(sequences(s, c), 2);
    openings.insert({sequences.row(s), sequences.row(s) + 5});
  }
  EXPECT_GT(openings.size(), 14U);  // one opening only at temperature 0
  // After the wide tokens each goes on with the most probable one that is allowed.
  Matrix<std::int32_t> continued = Sequences(16, 20);
  for (std::size_t s = 0; s < 16; ++s) std::copy_n(sequences.row(s), 5, continued.row(s));
  options.given = 5;
  options.sampler.wide_tokens = 0;
  ASSERT_TRUE(GenerateBatch(*network_, continued, options));
  EXPECT_TRUE(std::ranges::equal(continued.span(), sequences.span()));
}

TEST_F(Generation, RefusesBatchesThatDoNotFit) {
  Matrix<std::int32_t> sequences = Sequences(2, 41);
  EXPECT_FALSE(GenerateBatch(*network_, sequences, {.given = 3}));
  EXPECT_FALSE(GenerateBatch(*network_, sequences.view().Cols(0, 5), {.given = 0}));
  EXPECT_FALSE(GenerateBatch(*network_, sequences.view().Cols(0, 5), {.given = 6}));
  EXPECT_FALSE(GenerateBatch(*network_, sequences.view().Cols(0, 9), {.given = 4}));  // -1
  EXPECT_TRUE(GenerateBatch(*network_, sequences.view().Rows(0, 0).Cols(0, 9), {}));
  Matrix<std::int32_t> whole = Sequences(2, 3);
  EXPECT_TRUE(GenerateBatch(*network_, whole, {.given = 3}));
}

}  // namespace
}  // namespace awq::generate
