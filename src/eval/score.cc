#include "eval/score.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/error.h"
#include "math/vector.h"

namespace awq::eval {
namespace {

constexpr std::size_t kBatchTokens = 2048;
constexpr std::size_t kLogitsBytes = std::size_t{32} << 20;  // of one tile
constexpr double kP99 = 0.99;

std::span<const float> Row(const Matrix<float>& logits, std::size_t row) {
  return {logits.row(row), logits.cols()};
}

Figure Exp(const Figure& f) { return {std::exp(f.value), std::exp(f.low), std::exp(f.high)}; }

template <class T>
std::vector<double> Means(std::span<const T> values, std::size_t windows) {
  const std::size_t per_window = values.size() / windows;
  std::vector<double> means(windows, 0);
  for (std::size_t i = 0; i < values.size(); ++i) {
    means[i / per_window] += static_cast<double>(values[i]);
  }
  for (double& mean : means) mean /= static_cast<double>(per_window);
  return means;
}

// Of one value per prediction: the mean of a minus that of b.
Figure MeanDifference(const Resamples& resamples, std::span<const float> a,
                      std::span<const float> b) {
  std::vector<double> difference = Means(a, resamples.windows());
  const std::vector<double> subtracted = Means(b, resamples.windows());
  for (std::size_t w = 0; w < difference.size(); ++w) difference[w] -= subtracted[w];
  return MeanFigure(resamples, difference);
}

}  // namespace

std::size_t LogitsTileRows(std::size_t vocab_size) {
  return std::max<std::size_t>(1, kLogitsBytes / (vocab_size * sizeof(float)));
}

double NegativeLogLikelihood(std::span<const float> logits, std::int32_t token) {
  AWQ_CHECK_LT(static_cast<std::size_t>(token), logits.size());
  return math::LogSumExp(logits) - static_cast<double>(logits[static_cast<std::size_t>(token)]);
}

WindowScorer::WindowScorer(ThreadPool& pool, MatrixView<const std::int32_t> windows,
                           std::size_t models, bool with_reference)
    : pool_(pool), windows_(windows), with_reference_(with_reference), models_(models) {
  AWQ_CHECK_LT(std::size_t{0}, windows.rows);
  AWQ_CHECK_LT(std::size_t{1}, windows.cols);
  AWQ_CHECK_LT(std::size_t{0}, models);
  const std::size_t predictions = windows.rows * (windows.cols - 1);
  const std::size_t compared = with_reference ? predictions : 0;
  reference_nll_.resize(compared);
  for (Scores& scores : models_) {
    scores.nll.resize(predictions);
    scores.kl.resize(compared);
    scores.agree.resize(compared);
  }
}

std::size_t WindowScorer::BatchWindows(std::size_t ctx_tokens) {
  return std::max<std::size_t>(1, kBatchTokens / ctx_tokens);
}

Status WindowScorer::Score(std::size_t first, std::size_t count, const ScoredModel* reference,
                           std::span<const ScoredModel> models) {
  AWQ_CHECK_EQ(first % BatchWindows(windows_.cols), std::size_t{0});
  AWQ_CHECK_EQ(models.size(), models_.size());
  AWQ_CHECK_EQ(reference != nullptr, with_reference_);
  const std::size_t vocab = models.front().vocab_size;
  for (const ScoredModel& model : models) AWQ_CHECK_EQ(model.vocab_size, vocab);
  if (reference != nullptr) AWQ_CHECK_EQ(reference->vocab_size, vocab);
  // Tiles start anew with every batch, so that they are the same whatever the call.
  const std::size_t batch = BatchWindows(windows_.cols) * windows_.cols;
  const std::size_t tile_rows = std::min(LogitsTileRows(vocab), batch);
  TileLogits logits{Logits(tile_rows, vocab),
                    reference != nullptr ? Logits(tile_rows, vocab) : Logits()};
  const std::size_t tokens = count * windows_.cols;
  for (std::size_t begin = 0; begin < tokens; begin += batch) {
    const std::size_t end = std::min(tokens, begin + batch);
    for (std::size_t row = begin; row < end; row += tile_rows) {
      const Tile tile{row, first * windows_.cols + row, std::min(tile_rows, end - row)};
      AWQ_TRY(ScoreTile(tile, reference, models, logits));
    }
  }
  return {};
}

Status WindowScorer::ScoreTile(const Tile& tile, const ScoredModel* reference,
                               std::span<const ScoredModel> models, TileLogits& logits) {
  const auto fill = [&](const ScoredModel& model, Logits& to) {
    return model.logits(model.hidden(tile.hidden_row, tile.rows), to.view().Rows(0, tile.rows));
  };
  if (reference != nullptr) {
    AWQ_TRY(fill(*reference, logits.reference));
    AWQ_TRY(ScoreReference(tile, logits.reference));
  }
  for (std::size_t m = 0; m < models.size(); ++m) {
    AWQ_TRY(fill(models[m], logits.model));
    AWQ_TRY(ScoreModel(tile, logits, models_[m]));
  }
  return {};
}

Status WindowScorer::ScoreReference(const Tile& tile, const Logits& logits) {
  return ForPredictions(tile, [&](std::size_t row, std::size_t prediction, std::int32_t next) {
    const double nll = NegativeLogLikelihood(Row(logits, row), next);
    reference_nll_[prediction] = static_cast<float>(nll);
    return std::isfinite(nll);
  });
}

Status WindowScorer::ScoreModel(const Tile& tile, const TileLogits& logits, Scores& scores) {
  return ForPredictions(tile, [&](std::size_t row, std::size_t prediction, std::int32_t next) {
    const std::span<const float> model = Row(logits.model, row);
    const double nll = NegativeLogLikelihood(model, next);
    scores.nll[prediction] = static_cast<float>(nll);
    if (!with_reference_) return std::isfinite(nll);
    const std::span<const float> reference = Row(logits.reference, row);
    const double kl = math::KlDivergence(reference, model);
    scores.kl[prediction] = static_cast<float>(kl);
    scores.agree[prediction] = math::ArgMax(reference) == math::ArgMax(model);
    return std::isfinite(nll) && std::isfinite(kl);
  });
}

Status WindowScorer::ForPredictions(
    const Tile& tile, const std::function<bool(std::size_t, std::size_t, std::int32_t)>& score) {
  std::vector<std::uint8_t> finite(tile.rows, 1);
  pool_.ParallelFor(tile.rows, [&](std::size_t row, std::size_t) {
    const std::size_t window = (tile.token + row) / windows_.cols;
    const std::size_t position = (tile.token + row) % windows_.cols;
    if (position + 1 == windows_.cols) return;  // what follows the window is not scored
    const std::int32_t next = windows_(window, position + 1);
    finite[row] = score(row, window * (windows_.cols - 1) + position, next);
  });
  const auto bad = std::find(finite.begin(), finite.end(), 0);
  if (bad == finite.end()) return {};
  const std::size_t token = tile.token + static_cast<std::size_t>(bad - finite.begin());
  return MakeError(ErrorCode::kCorrupt,
                   "window {}: the logits are not finite; the weights are damaged, or too large "
                   "for the precision of the computation",
                   token / windows_.cols);
}

Divergence WindowScorer::MakeDivergence(const Resamples& resamples, Scores& scores) {
  const auto mean = [&](const auto& values) {
    return MeanFigure(resamples, Means(std::span(std::as_const(values)), resamples.windows()));
  };
  Divergence d;
  d.reference_nll_nats_per_token = mean(reference_nll_);
  d.reference_perplexity = Exp(d.reference_nll_nats_per_token);
  d.nll_increase_nats_per_token = MeanDifference(resamples, scores.nll, reference_nll_);
  d.kl_mean_nats = mean(scores.kl);
  d.top1_agreement = mean(scores.agree);
  const std::vector<Figure> quantiles =
      QuantileFigures(pool_, resamples, scores.kl, std::vector<double>{0.5, kP99});
  d.kl_median_nats = quantiles[0];
  d.kl_p99_nats = quantiles[1];
  d.kl_nats = std::move(scores.kl);
  return d;
}

std::vector<EvalReport> WindowScorer::Reports() && {
  const Resamples resamples(windows_.rows);
  std::vector<EvalReport> reports;
  for (Scores& scores : models_) {
    EvalReport& report = reports.emplace_back();
    report.windows = windows_.rows;
    report.ctx_tokens = windows_.cols;
    report.predictions = scores.nll.size();
    report.nll_nats_per_token =
        MeanFigure(resamples, Means(std::span<const float>(scores.nll), windows_.rows));
    report.perplexity = Exp(report.nll_nats_per_token);
    if (with_reference_) report.divergence = MakeDivergence(resamples, scores);
    report.nll_nats = std::move(scores.nll);
  }
  return reports;
}

Result<PairedFigures> PairedDifference(const EvalReport& a, const EvalReport& b) {
  if (a.windows != b.windows || a.ctx_tokens != b.ctx_tokens) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "{} windows of {} tokens against {} of {}: only figures of the same windows "
                     "can be paired",
                     a.windows, a.ctx_tokens, b.windows, b.ctx_tokens);
  }
  const Resamples resamples(a.windows);
  PairedFigures paired;
  paired.nll_nats_per_token = MeanDifference(resamples, a.nll_nats, b.nll_nats);
  if (!a.divergence || !b.divergence) return paired;
  const double reference_a = a.divergence->reference_nll_nats_per_token.value;
  const double reference_b = b.divergence->reference_nll_nats_per_token.value;
  if (reference_a != reference_b) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "references of {} and {} nats a token: only divergences from the same "
                     "reference on the same windows can be paired",
                     reference_a, reference_b);
  }
  paired.kl_mean_nats = MeanDifference(resamples, a.divergence->kl_nats, b.divergence->kl_nats);
  return paired;
}

}  // namespace awq::eval
