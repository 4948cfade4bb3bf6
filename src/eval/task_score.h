// Scoring multiple-choice tasks: hidden states of their sequences -> accuracy.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/threads.h"
#include "eval/bootstrap.h"
#include "eval/score.h"
#include "eval/tasks.h"

namespace awq::eval {

// Every interval is 95 %, from 1000 bootstrap resamples of items.
struct TaskReport {
  Measure reported = Measure::kAccNorm;  // which of the two is what is published
  Figure acc;                            // share of items, 0 to 1
  Figure acc_norm;
  std::vector<double> log_likelihood_nats;  // of every choice, item after item
  std::vector<std::uint8_t> correct;        // [items], by acc
  std::vector<std::uint8_t> correct_norm;   // [items], by acc_norm

  const Figure& accuracy() const { return reported == Measure::kAcc ? acc : acc_norm; }
};

// ln p(choice | context) of every choice, item after item. model.hidden has the sequences' inputs()
// one after another, InputTokens(items) rows. Only scored tokens go through the head, a tile of
// logits (LogitsTileRows) at a time. The last bits depend on how items are cut into calls, by the
// head's products; not on the number of threads. Errors: a token outside the vocabulary
// (kInvalidArgument), logits that are not finite (kCorrupt); both name the line.
Result<std::vector<double>> ChoiceLogLikelihoods(ThreadPool& pool, std::span<const TaskItem> items,
                                                 const ScoredModel& model);

// The report of a task whose choices have these log-likelihoods. Of equal ones the first counts.
TaskReport MakeTaskReport(const Task& task, std::vector<double> log_likelihood_nats);

// Both, of all items at once.
Result<TaskReport> ScoreTask(ThreadPool& pool, const Task& task, const ScoredModel& model);

// accuracy() of the first minus that of the second, from the same resamples of items.
// kInvalidArgument: reports of different tasks.
Result<Figure> PairedDifference(const TaskReport& a, const TaskReport& b);

}  // namespace awq::eval
