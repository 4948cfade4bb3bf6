#include "eval/task_score.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/error.h"

namespace awq::eval {
namespace {

// A token of a choice, and the row of hidden states that predicts it.
struct ScoredToken {
  std::size_t row = 0;
  std::int32_t token = 0;
  std::size_t choice = 0;  // of all choices of all items
  std::size_t line = 0;
};

Result<std::vector<ScoredToken>> ScoredTokens(std::span<const TaskItem> items, std::size_t vocab) {
  std::vector<ScoredToken> scored;
  std::size_t first_row = 0;
  std::size_t choice = 0;
  for (const TaskItem& item : items) {
    for (const TaskSequence& sequence : item.sequences) {
      AWQ_CHECK_LT(std::size_t{0}, sequence.scored_from);
      for (std::size_t i = sequence.scored_from; i < sequence.tokens.size(); ++i) {
        const std::int32_t token = sequence.tokens[i];
        if (token < 0 || static_cast<std::size_t>(token) >= vocab) {
          return MakeError(ErrorCode::kInvalidArgument,
                           "line {}: token {} is not in the model's vocabulary of {}", item.line,
                           token, vocab);
        }
        scored.push_back({first_row + i - 1, token, choice, item.line});
      }
      first_row += sequence.inputs().size();
      ++choice;
    }
  }
  return scored;
}

std::size_t CountChoices(std::span<const TaskItem> items) {
  std::size_t choices = 0;
  for (const TaskItem& item : items) choices += item.sequences.size();
  return choices;
}

std::size_t Best(std::span<const double> scores) {
  return static_cast<std::size_t>(std::max_element(scores.begin(), scores.end()) - scores.begin());
}

std::vector<double> AsNumbers(std::span<const std::uint8_t> correct) {
  return {correct.begin(), correct.end()};
}

}  // namespace

Result<std::vector<double>> ChoiceLogLikelihoods(ThreadPool& pool, std::span<const TaskItem> items,
                                                 const ScoredModel& model) {
  AWQ_ASSIGN(const std::vector<ScoredToken> scored, ScoredTokens(items, model.vocab_size));
  std::vector<double> log_likelihood(CountChoices(items), 0);
  if (scored.empty()) return log_likelihood;
  const std::size_t tile_rows = std::min(LogitsTileRows(model.vocab_size), scored.size());
  Matrix<float> logits(tile_rows, model.vocab_size);
  Matrix<float> hidden(tile_rows, model.hidden(0, 1).cols);
  std::vector<double> nll(tile_rows);
  for (std::size_t begin = 0; begin < scored.size(); begin += tile_rows) {
    const auto tile = std::span(scored).subspan(begin, std::min(tile_rows, scored.size() - begin));
    for (std::size_t r = 0; r < tile.size(); ++r) {
      std::copy_n(model.hidden(tile[r].row, 1).data, hidden.cols(), hidden.row(r));
    }
    AWQ_TRY(model.logits(std::as_const(hidden).view().Rows(0, tile.size()),
                         logits.view().Rows(0, tile.size())));
    pool.ParallelFor(tile.size(), [&](std::size_t r, std::size_t) {
      nll[r] = NegativeLogLikelihood({logits.row(r), logits.cols()}, tile[r].token);
    });
    for (std::size_t r = 0; r < tile.size(); ++r) {
      if (!std::isfinite(nll[r])) {
        return MakeError(ErrorCode::kCorrupt,
                         "line {}: the logits are not finite; the weights are damaged, or too "
                         "large for the precision of the computation",
                         tile[r].line);
      }
      log_likelihood[tile[r].choice] -= nll[r];
    }
  }
  return log_likelihood;
}

TaskReport MakeTaskReport(const Task& task, std::vector<double> log_likelihood_nats) {
  AWQ_CHECK_EQ(log_likelihood_nats.size(), CountChoices(task.items));
  TaskReport report;
  report.reported = ReportedMeasure(task.form);
  std::size_t first = 0;
  for (const TaskItem& item : task.items) {
    const auto choices = std::span(log_likelihood_nats).subspan(first, item.sequences.size());
    first += choices.size();
    std::vector<double> per_character;
    for (std::size_t i = 0; i < choices.size(); ++i) {
      per_character.push_back(choices[i] / static_cast<double>(item.sequences[i].characters));
    }
    report.correct.push_back(Best(choices) == item.gold);
    report.correct_norm.push_back(Best(per_character) == item.gold);
  }
  const Resamples resamples(task.items.size());
  report.acc = MeanFigure(resamples, AsNumbers(report.correct));
  report.acc_norm = MeanFigure(resamples, AsNumbers(report.correct_norm));
  report.log_likelihood_nats = std::move(log_likelihood_nats);
  return report;
}

Result<TaskReport> ScoreTask(ThreadPool& pool, const Task& task, const ScoredModel& model) {
  AWQ_ASSIGN(std::vector<double> log_likelihood, ChoiceLogLikelihoods(pool, task.items, model));
  return MakeTaskReport(task, std::move(log_likelihood));
}

Result<Figure> PairedDifference(const TaskReport& a, const TaskReport& b) {
  if (a.correct.size() != b.correct.size() || a.reported != b.reported ||
      a.log_likelihood_nats.size() != b.log_likelihood_nats.size()) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "{} of {} items against {} of {}: only reports of the same task can be paired",
                     Name(a.reported), a.correct.size(), Name(b.reported), b.correct.size());
  }
  const bool is_acc = a.reported == Measure::kAcc;
  std::vector<double> difference = AsNumbers(is_acc ? a.correct : a.correct_norm);
  const std::vector<double> subtracted = AsNumbers(is_acc ? b.correct : b.correct_norm);
  for (std::size_t i = 0; i < difference.size(); ++i) difference[i] -= subtracted[i];
  return MeanFigure(Resamples(difference.size()), difference);
}

}  // namespace awq::eval
