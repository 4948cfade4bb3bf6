// Perplexity of token windows, and how far a model's predictions are from a reference's.
#pragma once

#include <awq/progress.h>
#include <awq/result.h>

#include <cstddef>
#include <cstdint>

#include "base/threads.h"
#include "eval/score.h"
#include "model/weights.h"
#include "tensor/tensor.h"
#include "transformer/network.h"

namespace awq::eval {

struct EvalOptions {
  // But for positions and limits of memory. The reference is computed with the same precision, on
  // the same device, but dense, its head in 16 bits, its keys and values as they are.
  transformer::NetworkOptions network = {};
  // Hidden states, and converted copies of weights: half of it each, at least one block and 8192
  // tokens of a width of 4096 (128 MiB a model). Mapped files, the head and up to 64 MiB of logits
  // come on top.
  std::size_t working_bytes = std::size_t{1} << 30;
  ProgressSink* progress = nullptr;  // stage "evaluating", in tokens
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
