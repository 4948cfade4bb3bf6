#include "eval/task_score.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "eval/test_model.h"

namespace awq::eval {
namespace {

// Items of two choices, of `tokens` tokens each, the last two scored.
Task MakeTask(std::size_t items, std::size_t tokens, std::size_t vocab) {
  Task task;
  task.form = TaskForm::kQuestion;
  std::uint32_t next = 1;
  for (std::size_t i = 0; i < items; ++i) {
    TaskItem& item = task.items.emplace_back();
    item.line = i + 1;
    item.gold = i % 2;
    for (std::size_t choice = 0; choice < 2; ++choice) {
      TaskSequence& sequence = item.sequences.emplace_back();
      for (std::size_t t = 0; t < tokens; ++t) {
        next = next * 1664525U + 1013904223U;
        sequence.tokens.push_back(static_cast<std::int32_t>((next >> 8) % vocab));
      }
      sequence.scored_from = tokens - 2;
      sequence.characters = 1 + choice;
    }
  }
  return task;
}

TEST(TaskScore, LogLikelihoodsByHand) {
  const Task task = MakeTask(5, 4, 9);
  ASSERT_EQ(InputTokens(task.items), 30U);
  FakeModel model(30, 9, 1);
  ThreadPool pool(2);
  const auto report = ScoreTask(pool, task, model.Scored());
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(model.rows, 20U);  // scored tokens only
  ASSERT_EQ(report->log_likelihood_nats.size(), 10U);
  std::size_t correct = 0;
  std::size_t correct_norm = 0;
  for (std::size_t i = 0; i < 5; ++i) {
    std::vector<double> sums;
    for (std::size_t c = 0; c < 2; ++c) {
      const std::size_t row = (2 * i + c) * 3;  // three inputs a sequence
      const auto& tokens = task.items[i].sequences[c].tokens;
      sums.push_back(std::log(model.Probabilities(row + 1)[static_cast<std::size_t>(tokens[2])]) +
                     std::log(model.Probabilities(row + 2)[static_cast<std::size_t>(tokens[3])]));
      // Logits below 4: a few roundings to 24 bits.
      EXPECT_NEAR(report->log_likelihood_nats[2 * i + c], sums[c], 1e-5);
    }
    const std::size_t gold = task.items[i].gold;
    EXPECT_EQ(report->correct[i] != 0, (sums[1] > sums[0] ? 1U : 0U) == gold);
    EXPECT_EQ(report->correct_norm[i] != 0, (sums[1] / 2 > sums[0] ? 1U : 0U) == gold);
    correct += report->correct[i];
    correct_norm += report->correct_norm[i];
  }
  EXPECT_DOUBLE_EQ(report->acc.value, static_cast<double>(correct) / 5);
  EXPECT_DOUBLE_EQ(report->acc_norm.value, static_cast<double>(correct_norm) / 5);
}

// 262 rows a tile of 32000 logits; 600 tokens are scored.
TEST(TaskScore, TilesAreBoundedAndNeitherTheyNorThreadsShow) {
  const std::size_t vocab = 32000;
  const Task task = MakeTask(150, 3, vocab);
  FakeModel model(InputTokens(task.items), vocab, 1);
  ThreadPool pool(3);
  const auto all = ChoiceLogLikelihoods(pool, task.items, model.Scored());
  ASSERT_TRUE(all);
  EXPECT_EQ(model.largest_tile, LogitsTileRows(vocab));
  EXPECT_EQ(model.rows, 600U);
  ThreadPool alone(1);
  std::vector<double> cut;
  const std::span<const TaskItem> items = task.items;
  for (std::size_t first : {0U, 70U}) {
    const auto part = items.subspan(first, first == 0 ? 70 : 80);
    const auto some =
        ChoiceLogLikelihoods(alone, part, model.Scored(InputTokens(items.first(first))));
    ASSERT_TRUE(some);
    cut.insert(cut.end(), some->begin(), some->end());
  }
  EXPECT_EQ(cut, *all);
}

Task Choices(std::size_t items, TaskForm form) {
  Task task = MakeTask(items, 3, 9);
  task.form = form;
  return task;
}

TEST(TaskScore, LengthDecidesOnlyAccNorm) {
  // The second choice has twice the characters; gold is 0, 1, 0, 1.
  const std::vector<double> likelihoods = {-1, -1.5, -1, -1.5, -2, -5, -3, -3};
  const TaskReport report = MakeTaskReport(Choices(4, TaskForm::kQuestion), likelihoods);
  EXPECT_EQ(report.correct, std::vector<std::uint8_t>({1, 0, 1, 0}));  // a tie: the first
  EXPECT_EQ(report.correct_norm, std::vector<std::uint8_t>({0, 1, 1, 1}));
  EXPECT_EQ(report.acc.value, 0.5);
  EXPECT_EQ(report.acc_norm.value, 0.75);
  EXPECT_EQ(report.reported, Measure::kAccNorm);
  EXPECT_EQ(report.accuracy().value, 0.75);
  const TaskReport winogrande = MakeTaskReport(Choices(4, TaskForm::kWinogrande), likelihoods);
  EXPECT_EQ(winogrande.reported, Measure::kAcc);
  EXPECT_EQ(winogrande.accuracy().value, 0.5);
}

TEST(TaskScore, TheIntervalIsTheBinomialOne) {
  std::vector<double> likelihoods;
  for (std::size_t i = 0; i < 400; ++i) {  // gold is 0 and 1 in turn: 0 always wins, half is right
    likelihoods.insert(likelihoods.end(), {-1.0, -2.0});
  }
  const TaskReport report = MakeTaskReport(Choices(400, TaskForm::kWinogrande), likelihoods);
  EXPECT_EQ(report.acc.value, 0.5);
  // 1.96 * 0.5 / sqrt(400), give or take 5 times 2 % for 1000 resamples, and one item
  EXPECT_NEAR(report.acc.high - 0.5, 0.049, 0.0049 + 0.0025);
  EXPECT_NEAR(0.5 - report.acc.low, 0.049, 0.0049 + 0.0025);
}

TEST(TaskScore, PairedDifferenceSeesOnlyTheItemsThatChanged) {
  const Task task = Choices(400, TaskForm::kWinogrande);
  std::vector<double> likelihoods;
  for (std::size_t i = 0; i < 400; ++i) likelihoods.insert(likelihoods.end(), {-1.0, -2.0});
  const TaskReport a = MakeTaskReport(task, likelihoods);
  for (std::size_t i = 0; i < 20; i += 2) std::swap(likelihoods[2 * i], likelihoods[2 * i + 1]);
  const TaskReport b = MakeTaskReport(task, likelihoods);  // 10 items of gold 0 more are wrong
  const auto difference = PairedDifference(a, b);
  ASSERT_TRUE(difference) << difference.error().message;
  EXPECT_DOUBLE_EQ(difference->value, 0.025);
  // 1.96 * sqrt(0.025 * 0.975 / 400) = 0.0153; a difference of unpaired ones would have 0.069.
  EXPECT_NEAR(difference->high - difference->value, 0.0153, 0.0015 + 0.0025);
  EXPECT_GT(difference->low, 0);
  const auto back = PairedDifference(b, a);
  ASSERT_TRUE(back);
  EXPECT_DOUBLE_EQ(back->value, -0.025);
}

TEST(TaskScore, RefusesToPairDifferentTasks) {
  const std::vector<double> likelihoods(8, -1);
  const TaskReport a = MakeTaskReport(Choices(4, TaskForm::kQuestion), likelihoods);
  const TaskReport winogrande = MakeTaskReport(Choices(4, TaskForm::kWinogrande), likelihoods);
  const TaskReport fewer =
      MakeTaskReport(Choices(3, TaskForm::kQuestion), std::vector<double>(6, -1));
  for (const TaskReport* b : {&winogrande, &fewer}) {
    const auto difference = PairedDifference(a, *b);
    ASSERT_FALSE(difference);
    EXPECT_EQ(difference.error().code, ErrorCode::kInvalidArgument);
  }
}

void ExpectError(const Result<TaskReport>& report, ErrorCode code, const std::string& part) {
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code, code);
  EXPECT_NE(report.error().message.find(part), std::string::npos) << report.error().message;
}

TEST(TaskScore, NamesTheLineThatCannotBeScored) {
  ThreadPool pool(1);
  FakeModel model(30, 9, 1);
  Task task = MakeTask(5, 4, 9);
  task.items[3].line = 17;
  // The last token is run through no embedding that would see it.
  for (std::int32_t token : {9, -1}) {
    task.items[3].sequences[1].tokens[3] = token;
    ExpectError(ScoreTask(pool, task, model.Scored()), ErrorCode::kInvalidArgument, "line 17:");
  }
  task.items[3].sequences[1].tokens[3] = 0;
  model.damaged = 7 * 3 + 2;
  ExpectError(ScoreTask(pool, task, model.Scored()), ErrorCode::kCorrupt, "line 17:");
  model.damaged = 7 * 3;  // predicts a token that is not scored
  EXPECT_TRUE(ScoreTask(pool, task, model.Scored()));
}

}  // namespace
}  // namespace awq::eval
