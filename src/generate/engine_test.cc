#include "generate/engine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "testing/random_model.h"

namespace awq::generate {
namespace {

using kernels::Precision;
using transformer::Network;

using Tokens = std::vector<std::int32_t>;

constexpr std::size_t kPositions = 64;
constexpr std::size_t kPage = 4;  // tokens
constexpr std::int32_t kVocab = 50;

class Engines : public ::testing::Test {
 protected:
  std::unique_ptr<Network> MakeNetwork(ThreadPool& pool,
                                       transformer::KvType kv = transformer::KvType::kExact) const {
    return Network::Create(pool, source_,
                           {.precision = Precision::kF32, .positions = kPositions, .kv = kv})
        .value();
  }

  // What a sequence gives that has an engine for itself.
  GenerateReport Alone(const Tokens& prompt, const GenerateOptions& options) {
    return Generate(*network_, prompt, options).value();
  }

  testing::RandomModel source_{testing::SmallConfig()};
  ThreadPool pool_{2};
  std::unique_ptr<Network> network_ = MakeNetwork(pool_);
};

Tokens RandomTokens(std::mt19937& random, std::size_t count) {
  Tokens tokens(count);
  for (std::int32_t& token : tokens) token = static_cast<std::int32_t>(random() % kVocab);
  return tokens;
}

Tokens Joined(Tokens first, const Tokens& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

// Where the report of a request goes.
class Outcome {
 public:
  Request Of(const Tokens& prompt, const GenerateOptions& options) {
    Request request{prompt, options};
    request.on_token = [this](std::int32_t token) {
      seen_.push_back(token);
      return true;
    };
    request.on_end = [this](const Result<GenerateReport>& made) {
      EXPECT_FALSE(made_.has_value());
      made_ = made;
    };
    return request;
  }
  bool has_ended() const { return made_.has_value(); }
  const Result<GenerateReport>& result() const { return *made_; }
  const GenerateReport& report() const { return **made_; }
  const Tokens& seen() const { return seen_; }

 private:
  std::optional<Result<GenerateReport>> made_;
  Tokens seen_;
};

void RunAll(Engine& engine) {
  for (int step = 0; !engine.idle(); ++step) {
    ASSERT_LT(step, 2000);
    ASSERT_TRUE(engine.Step());
  }
}

TEST_F(Engines, EachSequenceIsAsItIsAlone) {
  std::mt19937 random(1);
  std::vector<Tokens> prompts;
  for (const std::size_t length : {1U, 3U, 4U, 5U, 17U, 30U, 63U}) {
    prompts.push_back(RandomTokens(random, length));
  }
  for (const std::size_t at_once : {1U, 3U, 7U}) {
    for (const std::size_t prompt_tokens : {3U, 2048U}) {
      Engine engine(*network_,
                    {.sequences = at_once, .prompt_tokens = prompt_tokens, .page_tokens = kPage});
      std::vector<Outcome> outcomes(prompts.size());
      for (std::size_t i = 0; i < prompts.size(); ++i) {
        ASSERT_TRUE(engine.Add(outcomes[i].Of(prompts[i], {.max_new_tokens = 5 + 6 * i})));
      }
      EXPECT_EQ(engine.load().waiting, prompts.size());
      RunAll(engine);
      for (std::size_t i = 0; i < prompts.size(); ++i) {
        const GenerateReport alone = Alone(prompts[i], {.max_new_tokens = 5 + 6 * i});
        EXPECT_EQ(outcomes[i].report().tokens, alone.tokens) << i;
        EXPECT_EQ(outcomes[i].report().stop, alone.stop);
        EXPECT_EQ(outcomes[i].seen(), alone.tokens);
        EXPECT_EQ(outcomes[i].report().prompt_tokens, prompts[i].size());
      }
    }
  }
}

TEST_F(Engines, EachHasItsOwnEnd) {
  const Tokens prompt = {1, 17, 4, 33, 8};
  const Tokens text = Alone(prompt, {.max_new_tokens = 20}).tokens;
  Engine engine(*network_, {.sequences = 4, .page_tokens = kPage});
  std::vector<Outcome> outcomes(5);
  ASSERT_TRUE(engine.Add(outcomes[0].Of(prompt, {.max_new_tokens = 20, .end_tokens = {text[6]}})));
  ASSERT_TRUE(engine.Add(outcomes[1].Of(prompt, {.max_new_tokens = 3})));
  ASSERT_TRUE(engine.Add(outcomes[2].Of(prompt, {.max_new_tokens = 1000})));
  ASSERT_TRUE(engine.Add(outcomes[3].Of(prompt, {.max_new_tokens = 0})));
  Request stopped = outcomes[4].Of(prompt, {.max_new_tokens = 20});
  stopped.on_token = [&](std::int32_t) { return false; };
  ASSERT_TRUE(engine.Add(stopped));
  RunAll(engine);
  EXPECT_EQ(outcomes[0].report().stop, StopReason::kEnd);
  const auto end = std::ranges::find(text, text[6]) - text.begin();
  EXPECT_EQ(outcomes[0].report().tokens, Tokens(text.begin(), text.begin() + end));
  EXPECT_EQ(outcomes[1].report().stop, StopReason::kLength);
  EXPECT_EQ(outcomes[2].report().stop, StopReason::kContext);
  EXPECT_EQ(outcomes[2].report().tokens.size(), kPositions - prompt.size());
  EXPECT_EQ(outcomes[3].report().stop, StopReason::kLength);
  EXPECT_TRUE(outcomes[3].report().tokens.empty());
  EXPECT_EQ(outcomes[4].report().stop, StopReason::kCaller);
  EXPECT_EQ(outcomes[4].report().tokens, Tokens(1, text[0]));
}

TEST_F(Engines, WhatBeginsAlikeSharesPagesAndIsTheSame) {
  std::mt19937 random(2);
  const Tokens prefix = RandomTokens(random, 30);
  std::vector<Tokens> prompts;
  for (int i = 0; i < 6; ++i) prompts.push_back(Joined(prefix, RandomTokens(random, 3)));
  for (const auto kv : {transformer::KvType::kExact, transformer::KvType::kInt8}) {
    const auto network = MakeNetwork(pool_, kv);
    Engine engine(*network, {.sequences = 6, .page_tokens = kPage});
    std::vector<Outcome> outcomes(prompts.size());
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      ASSERT_TRUE(engine.Add(outcomes[i].Of(prompts[i], {.max_new_tokens = 10})));
    }
    ASSERT_TRUE(engine.Step());
    EXPECT_EQ(engine.load().running, 1U);  // the others wait for what they share
    ASSERT_TRUE(engine.Step());
    EXPECT_EQ(engine.load().running, 6U);
    // 7 full pages of the 30 tokens once; of each what follows: 5 tokens and what it drew.
    EXPECT_LE(engine.load().pages, 7 + 6 * 2U);
    RunAll(engine);
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      EXPECT_EQ(outcomes[i].report().reused_tokens, i == 0 ? 0 : prefix.size());
      const auto alone = Generate(*network, prompts[i], {.max_new_tokens = 10});
      ASSERT_TRUE(alone);
      EXPECT_EQ(outcomes[i].report().tokens, alone->tokens) << i;
    }
  }
}

TEST_F(Engines, ALiveSequenceAndOneThatGoesOnOtherwiseDoNotDisturbEachOther) {
  const Tokens prompt = {1, 17, 4, 33, 8, 20};
  const Tokens text = Alone(prompt, {.max_new_tokens = 30}).tokens;
  Engine engine(*network_, {.sequences = 2, .page_tokens = kPage});
  Outcome first;
  Outcome second;
  ASSERT_TRUE(engine.Add(first.Of(prompt, {.max_new_tokens = 30})));
  for (int step = 0; step < 8; ++step) ASSERT_TRUE(engine.Step());
  // As the first has gone on by now, but for a last token in the middle of a page.
  const std::int32_t other = text[4] == 7 ? 9 : 7;
  const Tokens branch = Joined(Joined(prompt, Tokens(text.begin(), text.begin() + 4)), {other});
  ASSERT_TRUE(engine.Add(second.Of(branch, {.max_new_tokens = 20})));
  RunAll(engine);
  EXPECT_EQ(second.report().reused_tokens, 10U);
  EXPECT_EQ(first.report().tokens, text);
  EXPECT_EQ(second.report().tokens, Alone(branch, {.max_new_tokens = 20}).tokens);
}

TEST_F(Engines, FinishedSequencesAreKeptTheLeastRecentlyUsedGoFirst) {
  std::mt19937 random(3);
  std::vector<Tokens> prompts;
  for (int i = 0; i < 3; ++i) prompts.push_back(Joined({i}, RandomTokens(random, 11)));
  Engine engine(*network_, {.sequences = 1, .kept_sequences = 2, .page_tokens = kPage});
  const auto reused = [&](const Tokens& prompt) {
    Outcome outcome;
    EXPECT_TRUE(engine.Add(outcome.Of(prompt, {.max_new_tokens = 2})));
    RunAll(engine);
    return outcome.report().reused_tokens;
  };
  EXPECT_EQ(reused(prompts[0]), 0U);
  EXPECT_EQ(engine.load().kept, 1U);
  EXPECT_EQ(reused(prompts[0]), 11U);  // all but the last, which gives the logits
  EXPECT_EQ(engine.load().kept, 1U);   // the same need not be kept twice
  EXPECT_EQ(reused(prompts[1]), 0U);
  EXPECT_EQ(reused(prompts[0]), 11U);
  EXPECT_EQ(reused(prompts[2]), 0U);  // in place of 1
  EXPECT_EQ(reused(prompts[0]), 11U);
  EXPECT_EQ(reused(prompts[1]), 0U);
  EXPECT_EQ(engine.load().kept, 2U);
}

TEST_F(Engines, WherePagesRunOutOldOnesGoAndTheYoungestWaits) {
  std::mt19937 random(4);
  std::vector<Tokens> prompts;
  for (int i = 0; i < 5; ++i) prompts.push_back(RandomTokens(random, 7));
  // Each takes 7 + 29 tokens, 9 pages; 5 begin in 10.
  Engine engine(*network_, {.sequences = 5, .pages = 12, .page_tokens = kPage});
  std::vector<Outcome> outcomes(prompts.size());
  std::size_t most_running = 0;
  for (int round = 0; round < 2; ++round) {
    outcomes = std::vector<Outcome>(prompts.size());
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      ASSERT_TRUE(engine.Add(outcomes[i].Of(
          prompts[i], {.max_new_tokens = 29,
                       .sampler = {.temperature = i % 2 == 0 ? 0.0F : 1.0F, .seed = i}})));
    }
    while (!engine.idle()) {
      ASSERT_TRUE(engine.Step());
      EXPECT_LE(engine.load().pages, 12U);
      most_running = std::max(most_running, engine.load().running);
    }
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      const GenerateReport alone = Alone(
          prompts[i],
          {.max_new_tokens = 29, .sampler = {.temperature = i % 2 == 0 ? 0.0F : 1.0F, .seed = i}});
      EXPECT_EQ(outcomes[i].report().tokens, alone.tokens) << i;
    }
  }
  EXPECT_GT(most_running, 3U);
  EXPECT_GT(engine.load().preempted, 0U);
}

TEST_F(Engines, OfWhatIsKeptNoMoreGoesThanGivesAPromptItsPages) {
  std::mt19937 random(10);
  // Each is held with all but the last drawn token: 1 + 5, 1 + 9 and 1 + 5 of 4 a page.
  const std::size_t lengths[] = {5, 9, 5};
  std::vector<Tokens> prompts;
  Engine engine(*network_, {.sequences = 2, .pages = 14, .page_tokens = kPage});
  const auto reused = [&](const Tokens& prompt) {
    Outcome outcome;
    EXPECT_TRUE(engine.Add(outcome.Of(prompt, {.max_new_tokens = 2})));
    RunAll(engine);
    return outcome.report().reused_tokens;
  };
  for (std::int32_t i = 0; i < 3; ++i) {
    prompts.push_back(Joined({i}, RandomTokens(random, lengths[i] - 1)));
    EXPECT_EQ(reused(prompts.back()), 0U);
  }
  ASSERT_EQ(engine.load().pages, 2 + 3 + 2U);
  Outcome runs;
  ASSERT_TRUE(engine.Add(runs.Of(Joined({3}, RandomTokens(random, 10)), {.max_new_tokens = 2})));
  ASSERT_TRUE(engine.Step());
  ASSERT_EQ(engine.load().pages, 7 + 3U);

  // Beside the one that runs, 12 pages are more than all that is kept would give.
  Outcome large;
  ASSERT_TRUE(engine.Add(large.Of(Joined({4}, RandomTokens(random, 46)), {.max_new_tokens = 1})));
  ASSERT_TRUE(engine.Step());
  EXPECT_EQ(engine.load().waiting, 1U);
  EXPECT_EQ(engine.load().kept, 3 + 1U);  // and the one that ran, now
  EXPECT_EQ(engine.load().pages, 7 + 3U);

  // Alone it needs 8 of those 10: the latest of 2 pages stays.
  RunAll(engine);
  EXPECT_EQ(large.report().tokens.size(), 1U);
  EXPECT_EQ(engine.load().kept, 1 + 1U);
}

TEST_F(Engines, WhoGaveItsPagesIsNotOvertakenByOneThatNeverRan) {
  std::mt19937 random(8);
  // The first two take 9 of 12 pages at the end, so the second gives way; the third takes 2.
  Engine engine(*network_, {.sequences = 2, .pages = 12, .page_tokens = kPage});
  std::vector<Outcome> outcomes(3);
  std::vector<std::size_t> ended;
  for (std::size_t i = 0; i < 3; ++i) {
    const Tokens prompt = RandomTokens(random, i < 2 ? 7 : 3);
    Request request = outcomes[i].Of(prompt, {.max_new_tokens = i < 2 ? 29U : 4U});
    request.on_end = [&, i](const Result<GenerateReport>&) { ended.push_back(i); };
    ASSERT_TRUE(engine.Add(request));
  }
  RunAll(engine);
  EXPECT_GT(engine.load().preempted, 0U);
  EXPECT_EQ(ended, (std::vector<std::size_t>{0, 2, 1}));
}

TEST_F(Engines, AStepRunsNoMoreOfAllPromptsThanIsSaid) {
  std::mt19937 random(9);
  Engine engine(*network_, {.sequences = 2, .prompt_tokens = 8, .page_tokens = kPage});
  std::vector<Outcome> outcomes(2);
  for (std::size_t i = 0; i < 2; ++i) {
    const Tokens prompt = Joined({static_cast<std::int32_t>(i)}, RandomTokens(random, 19));
    ASSERT_TRUE(engine.Add(outcomes[i].Of(prompt, {.max_new_tokens = 5})));
  }
  for (const std::size_t ended : {0U, 0U, 1U, 1U, 2U}) {  // of 20 + 20 tokens, by eights
    ASSERT_TRUE(engine.Step());
    EXPECT_EQ(outcomes[0].seen().empty(), ended < 1);
    EXPECT_EQ(outcomes[1].seen().empty(), ended < 2);
  }
}

// As one who shortens the text by hand and begins anew.
TEST_F(Engines, WherePositionsAreUsedUpTheOlderHalfGoes) {
  constexpr std::size_t kKeeps = 3;
  constexpr std::size_t kStays = (kPositions - kKeeps) / 2;
  std::mt19937 random(7);
  Engine engine(*network_, {.sequences = 3, .page_tokens = kPage});
  std::vector<Outcome> outcomes(3);
  const std::size_t lengths[] = {5, kPositions - 1, 2 * kPositions + 1};
  std::vector<Tokens> prompts;
  for (std::size_t i = 0; i < 3; ++i) {
    prompts.push_back(RandomTokens(random, lengths[i]));
    const GenerateOptions options{.max_new_tokens = 2 * kPositions, .shift_keeps = kKeeps};
    ASSERT_TRUE(engine.Add(outcomes[i].Of(prompts[i], options)));
  }
  RunAll(engine);
  for (std::size_t i = 0; i < 3; ++i) {
    Tokens text = prompts[i];
    Tokens made;
    std::size_t gone = 0;
    for (;;) {
      const std::size_t left = 2 * kPositions - made.size();
      if (left == 0) break;
      if (text.size() >= kPositions) {
        gone += text.size() - kKeeps - kStays;
        text = Joined(Tokens(text.begin(), text.begin() + kKeeps),
                      Tokens(text.end() - kStays, text.end()));
      }
      const Tokens more =
          Alone(text, {.max_new_tokens = std::min(left, kPositions - text.size())}).tokens;
      text = Joined(text, more);
      made = Joined(made, more);
    }
    EXPECT_EQ(outcomes[i].report().tokens, made) << i;
    EXPECT_EQ(outcomes[i].report().stop, StopReason::kLength);
    EXPECT_EQ(outcomes[i].report().shifted_tokens, gone) << i;
  }
}

TEST_F(Engines, WhatGoesGivesItsPagesBack) {
  Engine engine(*network_, {.sequences = 1, .page_tokens = kPage});
  Outcome outcome;
  ASSERT_TRUE(engine.Add(outcome.Of({1, 2, 3}, {.max_new_tokens = 62, .shift_keeps = 3})));
  while (outcome.seen().size() < 61) ASSERT_TRUE(engine.Step());
  EXPECT_EQ(engine.load().pages, 1U);  // of 64 tokens the first 3 stay held
  RunAll(engine);
  EXPECT_GT(outcome.report().shifted_tokens, 0U);
}

TEST_F(Engines, RefusesWhatCanNeverRunAndGoesOn) {
  Engine engine(*network_, {.sequences = 2, .pages = 4, .page_tokens = kPage});
  Outcome good;
  ASSERT_TRUE(engine.Add(good.Of({1, 2, 3}, {.max_new_tokens = 10})));
  ASSERT_TRUE(engine.Step());
  Outcome bad;
  const auto large = engine.Add(bad.Of({4, 5, 6}, {.max_new_tokens = 14}));
  ASSERT_FALSE(large);
  EXPECT_EQ(large.error().code, ErrorCode::kOutOfMemory);
  EXPECT_NE(large.error().message.find("5 pages of 4 tokens"), std::string::npos);
  const auto empty = engine.Add(bad.Of({}, {}));
  ASSERT_FALSE(empty);
  EXPECT_NE(empty.error().message.find("an empty prompt"), std::string::npos);
  EXPECT_FALSE(engine.Add(bad.Of(Tokens(kPositions, 1), {})));
  const auto foreign = engine.Add(bad.Of({1, kVocab}, {.max_new_tokens = 1}));
  ASSERT_FALSE(foreign);
  EXPECT_NE(foreign.error().message.find("token 50"), std::string::npos);
  EXPECT_FALSE(engine.Add(bad.Of({-1}, {.max_new_tokens = 1})));
  RunAll(engine);
  EXPECT_FALSE(bad.has_ended());
  EXPECT_EQ(good.report().tokens, Alone({1, 2, 3}, {.max_new_tokens = 10}).tokens);
}

TEST_F(Engines, APromptThatIsCalledOffGivesOthersNothingInThatStep) {
  std::mt19937 random(5);
  const Tokens prompt = RandomTokens(random, 40);
  Engine engine(*network_, {.sequences = 3, .prompt_tokens = 8, .page_tokens = kPage});
  std::vector<Outcome> outcomes(3);
  bool goes_on = true;
  // What is kept of the longer one makes that of the shorter one, which ends after it, needless.
  for (const std::size_t tokens : {40U, 30U}) {
    GenerateOptions options{.max_new_tokens = 5};
    options.goes_on = [&] { return goes_on; };
    Tokens part(prompt.begin(), prompt.begin() + static_cast<std::ptrdiff_t>(tokens));
    ASSERT_TRUE(engine.Add(outcomes[tokens == 40].Of(part, options)));
    ASSERT_TRUE(engine.Step());
  }
  ASSERT_TRUE(engine.Step());
  goes_on = false;
  ASSERT_TRUE(engine.Add(outcomes[2].Of(prompt, {.max_new_tokens = 5})));
  RunAll(engine);
  EXPECT_EQ(outcomes[1].report().stop, StopReason::kCaller);
  EXPECT_EQ(outcomes[0].report().stop, StopReason::kCaller);
  EXPECT_EQ(outcomes[2].report().tokens, Alone(prompt, {.max_new_tokens = 5}).tokens);
}

TEST_F(Engines, AnErrorIsThatOfOneSequence) {
  SamplerOptions nothing_left;
  for (std::int32_t token = 0; token < kVocab; ++token) nothing_left.banned_tokens.push_back(token);
  Engine engine(*network_, {.sequences = 2, .page_tokens = kPage});
  Outcome good;
  Outcome bad;
  ASSERT_TRUE(engine.Add(bad.Of({1, 2}, {.sampler = nothing_left})));
  ASSERT_TRUE(engine.Add(good.Of({1, 2, 3}, {.max_new_tokens = 10})));
  RunAll(engine);
  ASSERT_TRUE(bad.has_ended());
  ASSERT_FALSE(bad.result());
  EXPECT_EQ(bad.result().error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(good.report().tokens, Alone({1, 2, 3}, {.max_new_tokens = 10}).tokens);
}

// A life of an engine: requests that come, and some that are called off, between random steps.
struct Life {
  std::vector<Tokens> texts;
  std::vector<StopReason> stops;
  std::vector<std::size_t> reused;
};

class Lives : public Engines, public ::testing::WithParamInterface<unsigned> {
 protected:
  struct Plan {
    Tokens prompt;
    GenerateOptions options;
    int step = 0;
    std::optional<int> cancel = {};  // so many steps after that
  };

  static std::vector<Plan> RandomPlans(unsigned seed) {
    std::mt19937 random(seed);
    const Tokens shared = RandomTokens(random, 40);
    std::vector<Plan> plans(12);
    for (Plan& plan : plans) {
      const auto prefix = static_cast<std::ptrdiff_t>(random() % 30);
      plan.prompt = Joined(Tokens(shared.begin(), shared.begin() + prefix),
                           RandomTokens(random, 1 + random() % 12));
      plan.options.max_new_tokens = random() % 25;
      plan.options.stream = random() % 100;
      plan.options.end_tokens = {static_cast<std::int32_t>(random() % kVocab)};
      if (random() % 2 == 0) plan.options.sampler = {.temperature = 0.7F, .seed = seed};
      plan.step = static_cast<int>(random() % 30);
      if (random() % 4 == 0) plan.cancel = static_cast<int>(random() % 10);
    }
    return plans;
  }

  static Life Live(Network& network, const std::vector<Plan>& plans, const EngineOptions& options) {
    Engine engine(network, options);
    std::vector<Outcome> outcomes(plans.size());
    std::vector<Engine::Id> ids(plans.size());
    for (int step = 0; step < 45 || !engine.idle(); ++step) {
      for (std::size_t i = 0; i < plans.size(); ++i) {
        if (plans[i].step == step) {
          ids[i] = engine.Add(outcomes[i].Of(plans[i].prompt, plans[i].options)).value();
        }
        if (plans[i].cancel && plans[i].step + *plans[i].cancel == step) engine.Cancel(ids[i]);
      }
      EXPECT_TRUE(engine.Step());
    }
    Life life;
    for (const Outcome& each : outcomes) {
      life.texts.push_back(each.report().tokens);
      life.stops.push_back(each.report().stop);
      life.reused.push_back(each.report().reused_tokens);
    }
    return life;
  }
};

TEST_P(Lives, EverySequenceIsAsItIsAloneOnAnyNumberOfThreads) {
  const std::vector<Plan> plans = RandomPlans(GetParam());
  std::mt19937 random(GetParam());
  const EngineOptions options{.sequences = 1 + random() % 5,
                              .kept_sequences = random() % 4,
                              .prompt_tokens = 1 + random() % 40,
                              .pages = 18 + random() % 20,
                              .page_tokens = 1 + random() % 7,
                              .logits_bytes = (1 + random() % 3) * kVocab * sizeof(float)};
  // Sixteen pages of one token would hold no prompt.
  EngineOptions enough = options;
  enough.pages = std::max(options.pages, CeilDiv(kPositions, options.page_tokens));
  const Life life = Live(*network_, plans, enough);
  for (std::size_t i = 0; i < plans.size(); ++i) {
    const GenerateReport alone = Alone(plans[i].prompt, plans[i].options);
    if (life.stops[i] != StopReason::kCaller) {
      EXPECT_EQ(life.texts[i], alone.tokens) << i;
      EXPECT_EQ(life.stops[i], alone.stop) << i;
      continue;
    }
    ASSERT_LE(life.texts[i].size(), alone.tokens.size());
    EXPECT_TRUE(std::ranges::equal(
        life.texts[i],
        Tokens(alone.tokens.begin(),
               alone.tokens.begin() + static_cast<std::ptrdiff_t>(life.texts[i].size()))));
  }
  ThreadPool one(1);
  const auto network = MakeNetwork(one);
  const Life again = Live(*network, plans, enough);
  EXPECT_EQ(again.texts, life.texts);
  EXPECT_EQ(again.stops, life.stops);
  EXPECT_EQ(again.reused, life.reused);
}

INSTANTIATE_TEST_SUITE_P(Seeds, Lives, ::testing::Range(0U, 40U));

}  // namespace
}  // namespace awq::generate
