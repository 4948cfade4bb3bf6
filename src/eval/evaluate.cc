#include "eval/evaluate.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <span>
#include <utility>

#include "base/error.h"
#include "math/vector.h"
#include "transformer/network.h"

namespace awq::eval {
namespace {

using transformer::Batch;
using transformer::KvCache;
using transformer::Network;

constexpr std::size_t kBatchTokens = 2048;  // that go through a block together
constexpr std::size_t kChunkTokens = 8192;  // that go through all blocks before the next, at least
constexpr std::size_t kLogitsBytes = std::size_t{32} << 20;  // of one model's tile
constexpr double kP99 = 0.99;

// A model with the hidden states of one chunk.
class Runner {
 public:
  static Result<std::unique_ptr<Runner>> Create(ThreadPool& pool, const model::WeightSource& source,
                                                const EvalOptions& options, std::size_t ctx,
                                                std::size_t batch_windows) {
    AWQ_ASSIGN(std::unique_ptr<Network> network,
               Network::Create(pool, source, {options.precision, ctx, options.working_bytes / 2}));
    return std::unique_ptr<Runner>(
        new Runner(source, std::move(network), options.precision, ctx, batch_windows));
  }

  const model::ModelConfig& config() const { return source_.config(); }
  MatrixView<const float> hidden() const { return hidden_.view().Rows(0, tokens_); }

  Status Embed(MatrixView<const std::int32_t> windows) {
    tokens_ = windows.rows * windows.cols;
    if (hidden_.rows() < tokens_) hidden_ = Matrix<float>(tokens_, config().hidden_size);
    batches_.clear();
    for (std::size_t w = 0; w < windows.rows; ++w) {
      AWQ_TRY(network_->Embed({windows.row(w), windows.cols},
                              hidden_.view().Rows(w * windows.cols, windows.cols)));
      if (w % batch_windows_ == 0) batches_.emplace_back();
      batches_.back().push_back({windows.cols, 0, w % batch_windows_});
    }
    return {};
  }

  Status RunLayer(std::size_t layer) {
    AWQ_TRY(network_->RunBlock(layer, batches_, cache_, hidden_.view().Rows(0, tokens_)));
    source_.Release(layer);
    return {};
  }

  void Logits(std::size_t first, MatrixView<float> logits) {
    network_->Logits(hidden().Rows(first, logits.rows), logits);
  }

 private:
  Runner(const model::WeightSource& source, std::unique_ptr<Network> network,
         kernels::Precision precision, std::size_t ctx, std::size_t batch_windows)
      : source_(source),
        network_(std::move(network)),
        batch_windows_(batch_windows),
        cache_(source.config(), precision, {1, batch_windows, ctx}) {}

  const model::WeightSource& source_;
  std::unique_ptr<Network> network_;
  std::size_t batch_windows_;
  KvCache cache_;
  std::vector<Batch> batches_;
  Matrix<float> hidden_;
  std::size_t tokens_ = 0;
};

// What is kept of every prediction.
struct Scores {
  std::vector<float> nll;
  std::vector<float> reference_nll;
  std::vector<float> kl;
  std::vector<std::uint8_t> agree;

  Scores(std::size_t predictions, bool with_reference)
      : nll(predictions),
        reference_nll(with_reference ? predictions : 0),
        kl(with_reference ? predictions : 0),
        agree(with_reference ? predictions : 0) {}
};

double NegativeLogLikelihood(std::span<const float> logits, std::int32_t token) {
  return math::LogSumExp(logits) - static_cast<double>(logits[static_cast<std::size_t>(token)]);
}

class Evaluation {
 public:
  Evaluation(ThreadPool& pool, MatrixView<const std::int32_t> windows, const EvalOptions& options,
             bool with_reference)
      : pool_(pool),
        windows_(windows),
        options_(options),
        batch_windows_(std::max<std::size_t>(1, kBatchTokens / windows.cols)),
        scores_(windows.rows * (windows.cols - 1), with_reference) {}

  Result<EvalReport> Run(const model::WeightSource& model, const model::WeightSource* reference) {
    const auto start = std::chrono::steady_clock::now();
    for (const model::WeightSource* source : {reference, &model}) {
      if (source == nullptr) continue;
      AWQ_ASSIGN(std::unique_ptr<Runner> runner,
                 Runner::Create(pool_, *source, options_, windows_.cols, batch_windows_));
      runners_.push_back(std::move(runner));
      steps_ += source->config().num_hidden_layers + 1;
    }
    const std::size_t chunk = ChunkWindows();
    for (std::size_t first = 0; first < windows_.rows; first += chunk) {
      AWQ_TRY(RunChunk(first, std::min(chunk, windows_.rows - first)));
    }
    EvalReport report = MakeReport();
    report.seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return report;
  }

 private:
  // A multiple of a batch, so that batches hold the same windows whatever the chunk.
  std::size_t ChunkWindows() const {
    std::size_t token_bytes = 0;
    for (const auto& runner : runners_) token_bytes += runner->config().hidden_size * sizeof(float);
    const std::size_t tokens = std::max(kChunkTokens, options_.working_bytes / 2 / token_bytes);
    return RoundUp(std::max<std::size_t>(1, tokens / windows_.cols), batch_windows_);
  }

  Status RunChunk(std::size_t first, std::size_t count) {
    std::size_t steps_done = 0;
    for (const auto& runner : runners_) {
      AWQ_TRY(runner->Embed(windows_.Rows(first, count)));
      for (std::size_t layer = 0; layer < runner->config().num_hidden_layers; ++layer) {
        AWQ_TRY(runner->RunLayer(layer));
        Tell(first, count, ++steps_done);
      }
    }
    AWQ_TRY(ScoreChunk(first, count));
    Tell(first, count, steps_);
    return {};
  }

  void Tell(std::size_t first, std::size_t count, std::size_t steps_done) {
    if (options_.progress == nullptr) return;
    const std::size_t tokens = count * windows_.cols;
    options_.progress->Update({"evaluating", first * windows_.cols + tokens * steps_done / steps_,
                               windows_.rows * windows_.cols, "tokens", ""});
  }

  // Tiles start anew with every batch, so that they are the same whatever the chunk.
  Status ScoreChunk(std::size_t first, std::size_t count) {
    const std::size_t vocab = runners_.back()->config().vocab_size;
    const std::size_t batch = batch_windows_ * windows_.cols;
    const std::size_t tile =
        std::clamp<std::size_t>(kLogitsBytes / (vocab * sizeof(float)), 1, batch);
    std::vector<Matrix<float>> logits;
    for (std::size_t i = 0; i < runners_.size(); ++i) logits.emplace_back(tile, vocab);
    const std::size_t tokens = count * windows_.cols;
    for (std::size_t begin = 0; begin < tokens; begin += batch) {
      const std::size_t end = std::min(tokens, begin + batch);
      for (std::size_t row = begin; row < end; row += tile) {
        AWQ_TRY(ScoreTile(first * windows_.cols, row, std::min(tile, end - row), logits));
      }
    }
    return {};
  }

  // Rows [row, row + rows) of the chunk that begins with token `chunk_token`.
  Status ScoreTile(std::size_t chunk_token, std::size_t row, std::size_t rows,
                   std::vector<Matrix<float>>& logits) {
    for (std::size_t i = 0; i < runners_.size(); ++i) {
      runners_[i]->Logits(row, logits[i].view().Rows(0, rows));
    }
    std::vector<std::uint8_t> finite(rows, 1);
    pool_.ParallelFor(rows, [&](std::size_t r, std::size_t) {
      finite[r] = ScoreRow(chunk_token + row + r, logits, r);
    });
    const auto bad = std::find(finite.begin(), finite.end(), 0);
    if (bad == finite.end()) return {};
    return NotFinite(chunk_token + row + static_cast<std::size_t>(bad - finite.begin()));
  }

  // False where the prediction is not finite. `token` counts tokens of all windows.
  bool ScoreRow(std::size_t token, const std::vector<Matrix<float>>& logits, std::size_t row) {
    const std::size_t window = token / windows_.cols;
    const std::size_t position = token % windows_.cols;
    if (position + 1 == windows_.cols) return true;  // what follows the window is not scored
    const std::int32_t next = windows_(window, position + 1);
    const std::size_t prediction = window * (windows_.cols - 1) + position;
    const auto of = [&](std::size_t i) {
      return std::span<const float>(logits[i].row(row), logits[i].cols());
    };
    const std::span<const float> model = of(logits.size() - 1);
    const double nll = NegativeLogLikelihood(model, next);
    scores_.nll[prediction] = static_cast<float>(nll);
    if (logits.size() == 1) return std::isfinite(nll);
    const std::span<const float> reference = of(0);
    const double reference_nll = NegativeLogLikelihood(reference, next);
    const double kl = math::KlDivergence(reference, model);
    scores_.reference_nll[prediction] = static_cast<float>(reference_nll);
    scores_.kl[prediction] = static_cast<float>(kl);
    scores_.agree[prediction] = math::ArgMax(reference) == math::ArgMax(model);
    return std::isfinite(nll) && std::isfinite(reference_nll) && std::isfinite(kl);
  }

  Error NotFinite(std::size_t token) const {
    return MakeError(ErrorCode::kCorrupt,
                     "window {}: the logits are not finite; the weights are damaged, or too large "
                     "for the precision of the computation",
                     token / windows_.cols);
  }

  template <class T>
  std::vector<double> WindowMeans(const std::vector<T>& values) const {
    const std::size_t per_window = windows_.cols - 1;
    std::vector<double> means(windows_.rows, 0);
    for (std::size_t i = 0; i < values.size(); ++i) {
      means[i / per_window] += static_cast<double>(values[i]);
    }
    for (double& mean : means) mean /= static_cast<double>(per_window);
    return means;
  }

  EvalReport MakeReport() {
    const auto exp = [](const Figure& f) {
      return Figure{std::exp(f.value), std::exp(f.low), std::exp(f.high)};
    };
    const Resamples resamples(windows_.rows);
    const std::vector<double> nll = WindowMeans(scores_.nll);
    EvalReport report;
    report.windows = windows_.rows;
    report.ctx_tokens = windows_.cols;
    report.predictions = scores_.nll.size();
    report.nll_nats_per_token = MeanFigure(resamples, nll);
    report.perplexity = exp(report.nll_nats_per_token);
    if (runners_.size() > 1) {
      Divergence d;
      const std::vector<double> reference = WindowMeans(scores_.reference_nll);
      std::vector<double> increase = nll;
      for (std::size_t w = 0; w < increase.size(); ++w) increase[w] -= reference[w];
      d.reference_nll_nats_per_token = MeanFigure(resamples, reference);
      d.reference_perplexity = exp(d.reference_nll_nats_per_token);
      d.nll_increase_nats_per_token = MeanFigure(resamples, increase);
      d.kl_mean_nats = MeanFigure(resamples, WindowMeans(scores_.kl));
      d.top1_agreement = MeanFigure(resamples, WindowMeans(scores_.agree));
      const std::vector<Figure> quantiles =
          QuantileFigures(pool_, resamples, scores_.kl, std::vector<double>{0.5, kP99});
      d.kl_median_nats = quantiles[0];
      d.kl_p99_nats = quantiles[1];
      d.kl_nats = std::move(scores_.kl);
      report.divergence = std::move(d);
    }
    report.nll_nats = std::move(scores_.nll);
    return report;
  }

  ThreadPool& pool_;
  MatrixView<const std::int32_t> windows_;
  EvalOptions options_;
  std::size_t batch_windows_;
  std::vector<std::unique_ptr<Runner>> runners_;  // the reference, if any, then the model
  std::size_t steps_ = 0;                         // of progress, per chunk
  Scores scores_;
};

Status CheckWindows(const model::WeightSource& source, MatrixView<const std::int32_t> windows) {
  const std::size_t positions = source.config().max_position_embeddings;
  if (windows.rows == 0 || windows.cols < 2) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "{} windows of {} tokens leave nothing to predict: give a longer text, or "
                     "shorter windows of at least 2 tokens",
                     windows.rows, windows.cols);
  }
  if (windows.cols > positions) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "windows of {} tokens are longer than the model's {} positions "
                     "(max_position_embeddings): use at most {}",
                     windows.cols, positions, positions);
  }
  return {};
}

}  // namespace

Result<EvalReport> Evaluate(ThreadPool& pool, const model::WeightSource& model,
                            const model::WeightSource* reference,
                            MatrixView<const std::int32_t> windows, const EvalOptions& options) {
  AWQ_TRY(CheckWindows(model, windows));
  if (reference != nullptr) {
    AWQ_TRY(CheckWindows(*reference, windows));
    const std::size_t vocab = model.config().vocab_size;
    const std::size_t reference_vocab = reference->config().vocab_size;
    if (vocab != reference_vocab) {
      return MakeError(ErrorCode::kInvalidArgument,
                       "the model has a vocabulary of {} tokens, the reference of {}: only models "
                       "that share a tokenizer can be compared",
                       vocab, reference_vocab);
    }
  }
  return Evaluation(pool, windows, options, reference != nullptr).Run(model, reference);
}

}  // namespace awq::eval
