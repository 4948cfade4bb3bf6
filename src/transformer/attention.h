// Causal attention with grouped queries and an optional sliding window, over cached keys.
#pragma once

#include <cstddef>

#include "base/threads.h"
#include "model/config.h"
#include "transformer/batch.h"
#include "transformer/kv_cache.h"

namespace awq::transformer {

struct AttentionLayer {
  const model::ModelConfig* config = nullptr;
  std::size_t cache_layer = 0;
  std::size_t window = 0;  // a query sees this many keys, itself included; 0 means all
};

// queries [tokens, q_width] (rotated) -> out [tokens, q_width]; the segments' own keys and values
// are already in the cache.
void Attend(ThreadPool& pool, const AttentionLayer& layer, const Batch& batch, KvCache& cache,
            MatrixView<const float> queries, MatrixView<float> out);

}  // namespace awq::transformer
