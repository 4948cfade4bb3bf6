#include "eval/evaluate.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "transformer/network.h"

namespace awq::eval {
namespace {

using transformer::Batch;
using transformer::KvCache;
using transformer::Network;

constexpr std::size_t kChunkTokens = 8192;  // that go through all blocks before the next, at least

// A model with the hidden states of one chunk.
class Runner {
 public:
  static Result<std::unique_ptr<Runner>> Create(ThreadPool& pool, const model::WeightSource& source,
                                                const EvalOptions& options, bool is_reference,
                                                std::size_t ctx, std::size_t batch_windows) {
    transformer::NetworkOptions network_options = options.network;
    network_options.positions = ctx;
    network_options.keep_bytes = options.working_bytes / 2;
    if (is_reference) {
      network_options.packed = kernels::Packed::kDense;
      network_options.head_bits = 16;
      network_options.kv = transformer::KvType::kExact;
    }
    AWQ_ASSIGN(std::unique_ptr<Network> network, Network::Create(pool, source, network_options));
    return std::unique_ptr<Runner>(new Runner(source, std::move(network), ctx, batch_windows));
  }

  const model::ModelConfig& config() const { return source_.config(); }
  std::string device() const { return network_->device(); }

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
    AWQ_TRY(network_->RunBlock(layer, batches_, *cache_, hidden_.view().Rows(0, tokens_)));
    source_.Release(layer);
    return {};
  }

  // Valid until the next chunk.
  ScoredModel Scored() {
    return {config().vocab_size,
            [this](std::size_t first, std::size_t count) {
              return MatrixView<const float>(hidden_.view()).Rows(first, count);
            },
            [this](MatrixView<const float> hidden, MatrixView<float> logits) {
              return network_->Logits(hidden, logits);
            }};
  }

 private:
  Runner(const model::WeightSource& source, std::unique_ptr<Network> network, std::size_t ctx,
         std::size_t batch_windows)
      : source_(source),
        network_(std::move(network)),
        batch_windows_(batch_windows),
        cache_(network_->MakeCache(
            {.layers = 1, .slots = batch_windows, .capacity_tokens = ctx, .page_tokens = ctx})) {}

  const model::WeightSource& source_;
  std::unique_ptr<Network> network_;
  std::size_t batch_windows_;
  std::unique_ptr<KvCache> cache_;
  std::vector<Batch> batches_;
  Matrix<float> hidden_;
  std::size_t tokens_ = 0;
};

class Evaluation {
 public:
  Evaluation(ThreadPool& pool, MatrixView<const std::int32_t> windows, const EvalOptions& options,
             bool with_reference)
      : pool_(pool),
        windows_(windows),
        options_(options),
        batch_windows_(WindowScorer::BatchWindows(windows.cols)),
        scorer_(pool, windows, 1, with_reference) {}

  Result<EvalReport> Run(const model::WeightSource& model, const model::WeightSource* reference) {
    const auto start = std::chrono::steady_clock::now();
    for (const model::WeightSource* source : {reference, &model}) {
      if (source == nullptr) continue;
      AWQ_ASSIGN(std::unique_ptr<Runner> runner,
                 Runner::Create(pool_, *source, options_, source == reference, windows_.cols,
                                batch_windows_));
      runners_.push_back(std::move(runner));
      steps_ += source->config().num_hidden_layers + 1;
    }
    const std::size_t chunk = ChunkWindows();
    for (std::size_t first = 0; first < windows_.rows; first += chunk) {
      AWQ_TRY(RunChunk(first, std::min(chunk, windows_.rows - first)));
    }
    EvalReport report = std::move(std::move(scorer_).Reports().front());
    report.device = runners_.back()->device();
    report.seconds = SecondsSince(start);
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
    const std::size_t tokens = count * windows_.cols;
    Report(options_.progress, "evaluating", first * windows_.cols + tokens * steps_done / steps_,
           windows_.rows * windows_.cols, "tokens");
  }

  Status ScoreChunk(std::size_t first, std::size_t count) {
    const ScoredModel model = runners_.back()->Scored();
    if (runners_.size() == 1) return scorer_.Score(first, count, nullptr, {&model, 1});
    const ScoredModel reference = runners_.front()->Scored();
    return scorer_.Score(first, count, &reference, {&model, 1});
  }

  ThreadPool& pool_;
  MatrixView<const std::int32_t> windows_;
  EvalOptions options_;
  std::size_t batch_windows_;
  std::vector<std::unique_ptr<Runner>> runners_;  // the reference, if any, then the model
  std::size_t steps_ = 0;                         // of progress, per chunk
  WindowScorer scorer_;
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
