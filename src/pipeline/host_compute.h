// Walks on the CPU: hidden states rest on a disk.
#pragma once

#include "base/threads.h"
#include "pipeline/compute.h"

namespace awq::pipeline {

class HostCompute final : public Compute {
 public:
  // Both must outlive it and what it makes.
  HostCompute(ThreadPool& pool, const model::ModelConfig& config, math::Precision precision)
      : pool_(pool), config_(config), precision_(precision) {}

  Result<std::unique_ptr<Sequences>> MakeSequences(std::span<const std::size_t> sequence_tokens,
                                                   const SequencesOptions& options) override;
  Result<BlockPtr> Prepare(const model::BlockWeights& weights) override;
  BlockPtr NewBlock(kernels::Packed packed) override;
  std::unique_ptr<search::SiteGathering> BeginSite(const model::SiteRow& site, std::size_t width,
                                                   const RunnableBlock* paired) override;
  Status Wait() override { return {}; }

 private:
  ThreadPool& pool_;
  const model::ModelConfig& config_;
  math::Precision precision_;
};

}  // namespace awq::pipeline
