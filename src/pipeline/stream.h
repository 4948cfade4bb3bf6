// Blocks run over many sequences, whose hidden states rest in a HiddenStore between two halves.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/threads.h"
#include "pipeline/hidden_store.h"
#include "transformer/block.h"

namespace awq::pipeline {

// Tokens that go through a block together: whole sequences, about this many tokens.
inline constexpr std::size_t kTokensInFlight = 2048;

// Runs any stream of sequences of given lengths. Holds the scratch memory of one group of them.
class SequenceRunner {
 public:
  // Sequences that go through a block together.
  struct Group {
    std::size_t first_token = 0;
    std::size_t tokens = 0;
    transformer::Batch batch;
  };

  // config and pool must outlive it. `packed`: how the blocks were prepared that it will run.
  SequenceRunner(ThreadPool& pool, const model::ModelConfig& config, math::Precision precision,
                 std::span<const std::size_t> sequence_tokens,
                 kernels::Packed packed = kernels::Packed::kDense);

  const std::vector<Group>& groups() const { return groups_; }
  std::size_t tokens() const { return tokens_; }

  // The first hidden states of all tokens, sequence after sequence. Error: an id outside the
  // vocabulary.
  Status Embed(const TensorView& embedding, std::span<const std::int32_t> ids, HiddenStore& states);
  // What `reader` reads (transformer::BlockRunner::MakeInput).
  void MakeInput(const transformer::PreparedBlock& block, std::size_t layer, model::Role reader,
                 const Group& group, const HiddenStore& states, kernels::Activations& input);
  // Stores what becomes of the states by `reader`, kO or kDown, whose input the call before made of
  // the same group.
  void AddOutput(const transformer::PreparedBlock& block, model::Role reader, const Group& group,
                 const kernels::Activations& input, HiddenStore& states);
  // Half a block, to kO or kDown, over all groups.
  void RunHalf(const transformer::PreparedBlock& block, std::size_t layer, model::Role last,
               HiddenStore& states);

  // The whole block over all groups.
  void Run(const transformer::PreparedBlock& block, std::size_t layer, HiddenStore& states);

  // What is held only while a block runs; it comes back with the next call.
  void ReleaseScratch();

 private:
  ThreadPool& pool_;
  math::Precision precision_;
  kernels::Packed packed_;
  std::size_t tokens_ = 0;
  std::vector<Group> groups_;
  transformer::RopeTable rope_;
  transformer::BlockRunner runner_;
  transformer::KvCache cache_;
  kernels::Activations input_;
  Matrix<float> hidden_;  // of one group
};

}  // namespace awq::pipeline
