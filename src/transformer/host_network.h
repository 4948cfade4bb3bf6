// A network on the CPU.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "base/arena.h"
#include "transformer/network.h"

namespace awq::transformer {

class HostNetwork final : public Network {
 public:
  static Result<std::unique_ptr<Network>> Create(ThreadPool& pool,
                                                 const model::WeightSource& source,
                                                 const NetworkOptions& options);

  Work BlockWork() const override;
  Work HeadWork() const override;
  std::string device() const override { return "cpu"; }
  std::unique_ptr<Limits> MakeLimits(std::size_t tokens) const override;
  std::unique_ptr<KvCache> MakeCache(const CacheShape& shape) const override;
  Status Run(std::span<const std::int32_t> tokens, const Batch& batch, KvCache& cache) override;
  // Never draws.
  Result<bool> RunAndDraw(std::span<const std::int32_t> tokens, const Batch& batch, KvCache& cache,
                          std::span<const std::size_t> rows, std::span<const Draw> draws,
                          std::span<std::int32_t> drawn) override;
  Status LogitsOf(std::span<const std::size_t> rows, MatrixView<float> logits) override;
  Status RunBlocks(const Batch& batch, KvCache& cache, MatrixView<float> hidden) override;
  Status RunBlock(std::size_t layer, std::span<const Batch> batches, KvCache& cache,
                  MatrixView<float> hidden, Observer* observer) override;
  using Network::Logits;
  Status Logits(MatrixView<const float> hidden, const std::vector<float>& final_norm,
                MatrixView<float> logits) override;

  const Arena& arena() const { return arena_; }

 private:
  HostNetwork(ThreadPool& pool, const model::WeightSource& source, const NetworkOptions& options);
  Status Load();
  // Valid until the next call.
  Result<const PreparedBlock*> Block(std::size_t layer);

  BlockRunner runner_;
  kernels::Linear head_;
  Arena arena_;                                       // of the blocks, where all are kept
  std::optional<kernels::UnpackScratch> scratch_;     // until the last of them is
  std::vector<std::unique_ptr<PreparedBlock>> kept_;  // by layer; null where not kept
  std::size_t kept_bytes_ = 0;
  PreparedBlock passing_;
  kernels::Activations normed_;
  Matrix<float> hidden_;  // of the last Run
  std::size_t rows_ = 0;
  Matrix<float> wanted_;  // of them
};

}  // namespace awq::transformer
