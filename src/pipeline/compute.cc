#include "pipeline/compute.h"

#include <algorithm>

#include "base/error.h"
#include "pipeline/gpu/compute.h"
#include "pipeline/host_compute.h"

namespace awq::pipeline {

Sequences::Sequences(std::span<const std::size_t> sequence_tokens) {
  for (const std::size_t length : sequence_tokens) {
    if (groups_.empty() || groups_.back().tokens + length > kTokensInFlight) {
      groups_.push_back({.first_token = tokens_, .tokens = 0, .batch = {}});
    }
    Group& group = groups_.back();
    group.batch.push_back({.tokens = length, .position = 0, .slot = group.batch.size()});
    group.tokens += length;
    tokens_ += length;
    capacity_.group_tokens = std::max(capacity_.group_tokens, group.tokens);
    capacity_.slots = std::max(capacity_.slots, group.batch.size());
    capacity_.longest_tokens = std::max(capacity_.longest_tokens, length);
  }
}

void Sequences::RunHalf(const RunnableBlock& block, std::size_t layer, model::Role last,
                        HiddenStates& states) {
  for (const Group& group : groups_) {
    MakeInput(block, layer, last, group, states, Side::kQuantized);
    AddOutput(block, last, group, Side::kQuantized, states);
  }
}

void Sequences::Run(const RunnableBlock& block, std::size_t layer, HiddenStates& states) {
  RunHalf(block, layer, model::Role::kO, states);
  RunHalf(block, layer, model::Role::kDown, states);
}

Result<std::unique_ptr<Compute>> MakeCompute(ThreadPool& pool, const model::ModelConfig& config,
                                             math::Precision precision, std::optional<int> gpu) {
  if (gpu) return gpu::MakeCompute(pool, config, *gpu);
  return std::unique_ptr<Compute>(std::make_unique<HostCompute>(pool, config, precision));
}

Result<BlockPtr> MakeBlock(Compute& compute, const model::ModelConfig& config,
                           const StoredBlock& stored, kernels::Packed packed) {
  BlockPtr block = compute.NewBlock(packed);
  for (const model::LinearRow& row : config.arch->linears) {
    AWQ_TRY(block->SetLinear(row.role, stored.linear(row.role)));
  }
  for (const model::NormRow& row : config.arch->norms) {
    AWQ_TRY(block->SetNorm(row.role, stored.norms[static_cast<std::size_t>(row.role)]));
  }
  return block;
}

}  // namespace awq::pipeline
