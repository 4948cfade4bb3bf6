// Damaged weights are named before anything is computed with them. Errors: the first infinite or
// NaN element (names the directory, the tensor and the place).
#pragma once

#include <awq/result.h>

#include "base/threads.h"
#include "checkpoint/reader.h"

namespace awq::pipeline {

// Linears, biases and norms of one block.
Status CheckBlock(ThreadPool& pool, const checkpoint::ModelDirectory& model, std::size_t layer,
                  const model::BlockWeights& weights);
// What is in no block: embedding, final norm, head.
Status CheckRest(ThreadPool& pool, const checkpoint::ModelDirectory& model);
// All of it: one pass over the files.
Status CheckModel(ThreadPool& pool, const checkpoint::ModelDirectory& model);

}  // namespace awq::pipeline
