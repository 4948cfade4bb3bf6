// Causal attention with grouped queries and an optional sliding window, over cached keys.
//
// Keys go by in spans: of each, the largest score, the sum of weights and that of weighted values
// relative to it, which are put together with those of other spans (Milakov & Gimelshein 2018, Dao
// et al. 2022). The spans of one new token are tasks of their own.
#pragma once

#include <cstddef>
#include <vector>

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

// Holds the scratch memory, so one per thread of control. The pool must outlive it.
class Attention {
 public:
  explicit Attention(ThreadPool& pool) : pool_(pool), scratch_(pool.size()) {}

  // queries [tokens, q_width] (rotated) -> out [tokens, q_width]; the segments' own keys and values
  // are already in the cache. What a segment gets does not depend on those beside it.
  void Run(const AttentionLayer& layer, const Batch& batch, const KvCache& cache,
           MatrixView<const float> queries, MatrixView<float> out);
  // Scratch memory comes back with the next call.
  void ReleaseScratch();

  // Memory that grows where it is too small.
  struct Scratch {
    Buffer<std::byte> queries;
    Buffer<std::byte> rows;
    Buffer<std::byte> weights;
    Buffer<std::byte> scores;
    Buffer<std::byte> sums;
  };

 private:
  template <class T>
  void RunAs(const AttentionLayer& layer, const Batch& batch, const KvCache& cache,
             MatrixView<const float> queries, MatrixView<float> out);

  ThreadPool& pool_;
  std::vector<Scratch> scratch_;  // by thread
  Buffer<std::byte> parts_;       // sums of the spans of single tokens
};

}  // namespace awq::transformer
