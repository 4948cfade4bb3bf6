// Scoring of final hidden states: how well a model predicts the tokens of windows, and how far its
// predictions are from a reference's. For callers that run the blocks themselves.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/threads.h"
#include "eval/bootstrap.h"
#include "tensor/tensor.h"

namespace awq::eval {

// Against the reference, over the whole vocabulary.
struct Divergence {
  Figure reference_nll_nats_per_token;
  Figure reference_perplexity;
  Figure nll_increase_nats_per_token;  // the model's minus the reference's, paired
  Figure kl_mean_nats;                 // KL(reference || model) of a prediction
  Figure kl_median_nats;
  Figure kl_p99_nats;
  Figure top1_agreement;       // share of predictions with the same most probable token
  std::vector<float> kl_nats;  // [windows * (ctx - 1)]
};

// Every interval is 95 %, from 1000 bootstrap resamples of whole windows. Below about 20 windows it
// is too narrow, and of a single window it is empty.
struct EvalReport {
  std::size_t windows = 0;
  std::size_t ctx_tokens = 0;
  std::size_t predictions = 0;  // windows * (ctx - 1): a window's first token is not predicted
  Figure nll_nats_per_token;
  Figure perplexity;  // exp of the mean over all predictions, as the GPTQ and AWQ papers count
  std::optional<Divergence> divergence;
  std::vector<float> nll_nats;  // [windows * (ctx - 1)]
  std::string device;           // Network::device
  double seconds = 0;
};

// What scoring reads of a model that has been run.
struct ScoredModel {
  std::size_t vocab_size = 0;
  // Final hidden states [count, hidden_size] of tokens [first, first + count), counted from the
  // first token that is scored in a call. Valid until the next call.
  std::function<MatrixView<const float>(std::size_t first, std::size_t count)> hidden;
  // Logits [rows, vocab_size] of hidden states [rows, hidden_size].
  std::function<Status(MatrixView<const float> hidden, MatrixView<float> logits)> logits;
};

// Rows of logits that are held at once: at most 32 MiB, at least one.
std::size_t LogitsTileRows(std::size_t vocab_size);

// -ln p(token) for p the softmax of the logits [vocab_size], of which the token must be one.
double NegativeLogLikelihood(std::span<const float> logits, std::int32_t token);

// Scores any number of models on the same windows, and against the same reference: its logits are
// computed once for all of them. Two tiles of logits are held. Results depend neither on the number
// of threads nor on how the windows are cut into calls.
class WindowScorer {
 public:
  // windows [n, ctx], n >= 1, ctx >= 2, models >= 1; windows and the pool must outlive it.
  WindowScorer(ThreadPool& pool, MatrixView<const std::int32_t> windows, std::size_t models,
               bool with_reference);

  // Windows whose tiles of logits do not depend on the windows around them: about 2048 tokens.
  static std::size_t BatchWindows(std::size_t ctx_tokens);

  // Windows [first, first + count), `first` a multiple of BatchWindows. `reference` is null where
  // there is none. One vocabulary for all, which every token must be in. kCorrupt: logits that are
  // not finite; names the window.
  Status Score(std::size_t first, std::size_t count, const ScoredModel* reference,
               std::span<const ScoredModel> models);

  // One report for each model, in order; after all windows have been scored.
  std::vector<EvalReport> Reports() &&;

 private:
  // What is kept of every prediction of a model.
  struct Scores {
    std::vector<float> nll;
    std::vector<float> kl;
    std::vector<std::uint8_t> agree;
  };
  // Rows that go through the head together; `token` counts tokens of all windows.
  struct Tile {
    std::size_t hidden_row = 0;
    std::size_t token = 0;
    std::size_t rows = 0;
  };
  using Logits = Matrix<float>;

  struct TileLogits {
    Logits model;
    Logits reference;  // empty without one
  };

  Status ScoreTile(const Tile& tile, const ScoredModel* reference,
                   std::span<const ScoredModel> models, TileLogits& logits);
  Status ScoreReference(const Tile& tile, const Logits& logits);
  Status ScoreModel(const Tile& tile, const TileLogits& logits, Scores& scores);
  // score(row, prediction, next token) says whether its figures are finite.
  Status ForPredictions(const Tile& tile,
                        const std::function<bool(std::size_t, std::size_t, std::int32_t)>& score);
  Divergence MakeDivergence(const Resamples& resamples, Scores& scores);

  ThreadPool& pool_;
  MatrixView<const std::int32_t> windows_;
  bool with_reference_;
  std::vector<float> reference_nll_;
  std::vector<Scores> models_;
};

// The first report's figure minus the second's, from the same resamples of windows.
struct PairedFigures {
  Figure nll_nats_per_token;
  std::optional<Figure> kl_mean_nats;  // where both have a reference
};

// Of two reports on the same windows. kInvalidArgument: windows of different number or length, or
// references that predict differently.
Result<PairedFigures> PairedDifference(const EvalReport& a, const EvalReport& b);

}  // namespace awq::eval
