// A whole model: embedding, blocks (kept ready or made ready one at a time), final norm and head.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/threads.h"
#include "kernels/linear.h"
#include "model/weights.h"
#include "transformer/batch.h"
#include "transformer/block.h"
#include "transformer/draw.h"
#include "transformer/kv_cache.h"
#include "transformer/limits.h"

namespace awq::transformer {

struct NetworkOptions {
  kernels::Precision precision = kernels::Precision::kF32;
  std::size_t positions = 0;  // the longest sequence that will be run
  // Blocks that need converted copies are kept while they fit, else made anew at every use.
  std::size_t keep_bytes = SIZE_MAX;
  // What the blocks that are kept may take; more is an error, before the second one is made.
  std::size_t memory_bytes = SIZE_MAX;
  kernels::Packed packed = kernels::Packed::kDense;
  // Of the output head: 16, or 8 or 4, to which it is rounded (to nearest, in groups) when it is
  // loaded.
  int head_bits = 16;
  // Of the caches that are made for it.
  KvType kv = KvType::kExact;
  // Which of NVIDIA's GPUs computes; none: the CPU. There the precision is bf16, or fp16, and
  // packed linears stay so.
  std::optional<int> gpu = std::nullopt;
  bool f16 = false;
};

// Thread contract: one caller at a time. The source and the pool must outlive it.
class Network {
 public:
  static Result<std::unique_ptr<Network>> Create(ThreadPool& pool,
                                                 const model::WeightSource& source,
                                                 const NetworkOptions& options);
  virtual ~Network() = default;

  ThreadPool& pool() const { return pool_; }
  const model::ModelConfig& config() const { return source_.config(); }
  kernels::Precision precision() const { return options_.precision; }
  std::size_t positions() const { return options_.positions; }
  kernels::Packed packed() const { return options_.packed; }
  KvType kv() const { return options_.kv; }

  // What a token makes of weights: those of the blocks that are kept, or of the head.
  struct Work {
    std::size_t weight_bytes = 0;
    std::size_t multiplications = 0;
  };
  virtual Work BlockWork() const = 0;
  virtual Work HeadWork() const = 0;

  // What linears are multiplied with: "int8", "bf16", "f16" or "f32".
  std::string_view arithmetic() const;
  // "cpu", or the GPU's name.
  virtual std::string device() const = 0;
  // Of its products: those of so many tokens with the block's widest matrix. The network must
  // outlive them.
  virtual std::unique_ptr<Limits> MakeLimits(std::size_t tokens) const = 0;

  // Where its keys and values are; `shape` but for the type, which is kv().
  virtual std::unique_ptr<KvCache> MakeCache(const CacheShape& shape) const = 0;

  // --- Tokens to logits: what is between stays where the network computes. ---

  // Error: a token outside the vocabulary, or the cache has too few pages left; nothing was run
  // then.
  virtual Status Run(std::span<const std::int32_t> tokens, const Batch& batch, KvCache& cache) = 0;
  // The same, and then, where it returns true, a token of each of `rows` is drawn; else LogitsOf
  // has what to draw from. A token of -1: the logits are not finite.
  virtual Result<bool> RunAndDraw(std::span<const std::int32_t> tokens, const Batch& batch,
                                  KvCache& cache, std::span<const std::size_t> rows,
                                  std::span<const Draw> draws, std::span<std::int32_t> drawn) = 0;
  // logits [rows, vocab_size] of these rows of the last run.
  virtual Status LogitsOf(std::span<const std::size_t> rows, MatrixView<float> logits) = 0;

  // --- The same in pieces, with hidden states [tokens, hidden_size] of the caller's. ---

  // Error: a token outside the vocabulary.
  Status Embed(std::span<const std::int32_t> tokens, MatrixView<float> hidden) const;
  // All blocks over the batch, keys and values to the cache's layers of the same number. Error: the
  // cache has too few pages left; nothing was run then.
  virtual Status RunBlocks(const Batch& batch, KvCache& cache, MatrixView<float> hidden) = 0;
  // One block over many batches: the cache has one layer, which every batch overwrites. Batch b's
  // hidden states are rows [first, first + tokens) in order. For models too large to keep.
  virtual Status RunBlock(std::size_t layer, std::span<const Batch> batches, KvCache& cache,
                          MatrixView<float> hidden, Observer* observer = nullptr) = 0;
  // logits [rows, vocab_size] of hidden states [rows, hidden_size].
  Status Logits(MatrixView<const float> hidden, MatrixView<float> logits) {
    return Logits(hidden, final_norm_, logits);
  }
  // The same with another final norm [hidden_size].
  virtual Status Logits(MatrixView<const float> hidden, const std::vector<float>& final_norm,
                        MatrixView<float> logits) = 0;

 protected:
  Network(ThreadPool& pool, const model::WeightSource& source, const NetworkOptions& options);
  Status LoadEnds();  // what is the same on every device

  ThreadPool& pool_;
  const model::WeightSource& source_;
  NetworkOptions options_;
  RopeTable rope_;
  TensorView embedding_;
  std::vector<float> final_norm_;
};

// Of a head that is rounded to so many bits: the largest groups of up to 64 that divide
// hidden_size. Error: none does.
Result<quant::Spec> HeadSpec(int bits, std::size_t hidden_size);

}  // namespace awq::transformer
