// A network on an NVIDIA GPU.
#pragma once

#include <memory>
#include <vector>

#include "transformer/gpu/block.h"
#include "transformer/gpu/context.h"
#include "transformer/gpu/recordings.h"
#include "transformer/gpu/sampling.h"
#include "transformer/network.h"

namespace awq::transformer::gpu {

class DeviceNetwork final : public Network {
 public:
  // options.gpu says which. With no limit on keep_bytes all blocks are loaded here, else kept
  // where they take no more than half of what is free. Error: see
  // Context::Create; the model does not fit the GPU's memory.
  static Result<std::unique_ptr<Network>> Create(ThreadPool& pool,
                                                 const model::WeightSource& source,
                                                 const NetworkOptions& options);

  Work BlockWork() const override;
  Work HeadWork() const override;
  std::string device() const override { return context_->linears().device().name; }
  std::unique_ptr<Limits> MakeLimits(std::size_t tokens) const override;
  // Of as many of the pages as fit.
  std::unique_ptr<KvCache> MakeCache(const CacheShape& shape) const override;
  Status Run(std::span<const std::int32_t> tokens, const Batch& batch, KvCache& cache) override;
  Result<bool> RunAndDraw(std::span<const std::int32_t> tokens, const Batch& batch, KvCache& cache,
                          std::span<const std::size_t> rows, std::span<const Draw> draws,
                          std::span<std::int32_t> drawn) override;
  Status LogitsOf(std::span<const std::size_t> rows, MatrixView<float> logits) override;
  Status RunBlocks(const Batch& batch, KvCache& cache, MatrixView<float> hidden) override;
  // How often a step was run as a recorded graph.
  std::size_t replays() const { return recordings_.replays(); }
  // Precondition: no observer.
  Status RunBlock(std::size_t layer, std::span<const Batch> batches, KvCache& cache,
                  MatrixView<float> hidden, Observer* observer) override;
  using Network::Logits;
  Status Logits(MatrixView<const float> hidden, const std::vector<float>& final_norm,
                MatrixView<float> logits) override;

 private:
  DeviceNetwork(ThreadPool& pool, const model::WeightSource& source, const NetworkOptions& options,
                std::unique_ptr<Context> context);
  Status Load();
  Status LoadHead();
  // Valid until the next call.
  Result<const Block*> Loaded(std::size_t layer);
  Result<bool> KeepsAll(const Block& first) const;
  Status Place(std::span<const std::int32_t> tokens, const Batch& batch, KvCache& cache);
  // What was placed, from its tokens to its last block.
  Status RunPlaced();
  Status RunLoaded();
  // They are those of the last run, in order.
  bool IsAll(std::span<const std::size_t> rows) const;
  // Of these rows of the last run, normalized.
  const void* NormedRows(std::span<const std::size_t> rows);
  void Upload(MatrixView<const float> from, float* to);
  void Download(const float* from, MatrixView<float> to);
  // [count, hidden_size] of the type: rows of hidden states on the device (null: the first ones).
  const void* Normalize(float* hidden, const std::int32_t* rows, std::size_t count,
                        const float* norm);
  // logits on the device of `rows` rows that are normalized.
  float* Multiply(const void* normed, std::size_t rows);
  cuda::Float type() const { return options_.f16 ? cuda::Float::kHalf : cuda::Float::kBfloat16; }
  cuda::Element element() const {
    return options_.f16 ? cuda::Element::kF16 : cuda::Element::kBF16;
  }

  std::unique_ptr<Context> context_;
  cuda::DeviceMemory cosines_, sines_, table_, norm_;  // table_: the embedding
  cuda::Element table_type_ = cuda::Element::kBF16;
  Linear head_;
  std::unique_ptr<Steps> steps_;
  std::vector<std::unique_ptr<Block>> kept_;  // by layer; null where not kept
  Block passing_;
  std::optional<bool> keeps_all_;
  const std::int32_t* tokens_ = nullptr;  // that were placed
  const void* normed_ = nullptr;          // all rows of the last run
  Sampling sampling_;
  Recordings recordings_;
  Scratch ids_, rows_, other_hidden_, other_norm_, other_normed_, logits_;
};

}  // namespace awq::transformer::gpu
