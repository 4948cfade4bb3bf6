// Damaged weights are named before anything is computed with them. Errors: the first infinite or
// NaN element (names the directory, the tensor and the place).
#pragma once

#include <awq/result.h>

#include "base/threads.h"
#include "checkpoint/stored_model.h"

namespace awq::pipeline {

// Linears, biases and norms of one block.
Status CheckBlock(ThreadPool& pool, const checkpoint::StoredModel& model, std::size_t layer,
                  const model::BlockWeights& weights);
// What is in no block: embedding, final norm, head.
Status CheckRest(ThreadPool& pool, const checkpoint::StoredModel& model);
// All of it: one pass over the files.
Status CheckModel(ThreadPool& pool, const checkpoint::StoredModel& model);

}  // namespace awq::pipeline
