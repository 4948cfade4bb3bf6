// Perplexity of token windows, and how far a model's predictions are from a reference's.
#pragma once

#include <awq/progress.h>
#include <awq/result.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/threads.h"
#include "eval/bootstrap.h"
#include "kernels/linear.h"
#include "model/weights.h"
#include "tensor/tensor.h"

namespace awq::eval {

struct EvalOptions {
  kernels::Precision precision = kernels::Precision::kF32;
  // Hidden states, and converted copies of weights: half of it each, at least one block and 8192
  // tokens of a width of 4096 (128 MiB a model). Mapped files, the head and up to 64 MiB of logits
  // come on top.
  std::size_t working_bytes = std::size_t{1} << 30;
  ProgressSink* progress = nullptr;  // stage "evaluating", in tokens
};

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
  double seconds = 0;
};

// windows [n, ctx] of token ids. `reference` may be null. The two models may differ in everything
// but the vocabulary. Runs layer by layer over chunks of windows, each layer's weights made ready
// once a chunk; logits are never all in memory. Results depend neither on the number of threads nor
// on working_bytes. Errors: no windows or windows of one token; windows longer than the model's
// positions; a token outside the vocabulary; vocabularies of different size; logits that are not
// finite, naming the window.
Result<EvalReport> Evaluate(ThreadPool& pool, const model::WeightSource& model,
                            const model::WeightSource* reference,
                            MatrixView<const std::int32_t> windows, const EvalOptions& options);

}  // namespace awq::eval
