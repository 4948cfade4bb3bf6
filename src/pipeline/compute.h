// Where a walk computes: what keeps hidden states, runs blocks over them and gathers what sites
// read. host_compute.h is the CPU, gpu/compute.h a GPU; each takes what it has made itself.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "math/matmul.h"
#include "model/weights.h"
#include "pipeline/hidden_states.h"
#include "pipeline/stored_block.h"
#include "search/gathering.h"
#include "transformer/batch.h"

namespace awq::pipeline {

// Tokens that go through a block together: whole sequences, about this many tokens.
inline constexpr std::size_t kTokensInFlight = 2048;

// A block's weights, ready to run as far as they are set.
class RunnableBlock {
 public:
  virtual ~RunnableBlock() = default;
  // As the output will hold them.
  virtual Status SetLinear(model::Role role, const StoredLinear& linear) = 0;
  virtual Status SetNorm(model::Role role, const std::vector<F16>& norm) = 0;
};
using BlockPtr = std::unique_ptr<RunnableBlock>;

// Whose inputs of a site: both are held, those of one group of sequences.
enum class Side : std::uint8_t { kOriginal, kQuantized };

// Rows of a group: the first `counted` are for statistics, and `held`, `held` + `step`, ... held
// out (none, from the last row on).
struct TokenShare {
  std::size_t counted = 0;
  std::size_t held = SIZE_MAX;
  std::size_t step = 1;
};

// Streams of sequences of given lengths, and the scratch memory of one group of them. What goes
// wrong is kept until Compute::Wait.
class Sequences {
 public:
  // Sequences that go through a block together.
  struct Group {
    std::size_t first_token = 0;
    std::size_t tokens = 0;
    transformer::Batch batch;
  };

  explicit Sequences(std::span<const std::size_t> sequence_tokens);
  Sequences(const Sequences&) = delete;
  Sequences& operator=(const Sequences&) = delete;
  virtual ~Sequences() = default;

  const std::vector<Group>& groups() const { return groups_; }
  std::size_t tokens() const { return tokens_; }

  // The first hidden states of all tokens, sequence after sequence. Error: an id outside the
  // vocabulary; no room.
  virtual Result<std::unique_ptr<HiddenStates>> Embed(const TensorView& embedding,
                                                      std::span<const std::int32_t> ids) = 0;
  virtual Result<std::unique_ptr<HiddenStates>> Copy(const HiddenStates& states) = 0;
  // What `reader` reads (transformer::MakeInput), held as that side's.
  virtual void MakeInput(const RunnableBlock& block, std::size_t layer, model::Role reader,
                         const Group& group, const HiddenStates& states, Side side) = 0;
  // Stores what becomes of the states by `reader`, kO or kDown, whose input the call before made of
  // the same group for the same side.
  virtual void AddOutput(const RunnableBlock& block, model::Role reader, const Group& group,
                         Side side, HiddenStates& states) = 0;
  // Adds what is held of that side; where `paired`, with the original's as targets.
  virtual void Gather(Side side, bool paired, const TokenShare& share,
                      search::SiteGathering& to) = 0;
  // What is held only while a block runs; it comes back with the next call.
  virtual void ReleaseScratch() = 0;

  // Half a block, to kO or kDown, over all groups.
  void RunHalf(const RunnableBlock& block, std::size_t layer, model::Role last,
               HiddenStates& states);
  // The whole block over all groups.
  void Run(const RunnableBlock& block, std::size_t layer, HiddenStates& states);

 protected:
  struct Capacity {
    std::size_t group_tokens = 0;  // of the largest group
    std::size_t slots = 1;
    std::size_t longest_tokens = 0;  // sequence
  };
  const Capacity& capacity() const { return capacity_; }

 private:
  std::vector<Group> groups_;
  std::size_t tokens_ = 0;
  Capacity capacity_;
};

struct SequencesOptions {
  kernels::Packed packed = kernels::Packed::kDense;  // how the CPU's blocks are prepared
  math::Precision states = math::Precision::kF32;    // of states that rest on a disk
};

class Compute {
 public:
  virtual ~Compute() = default;

  virtual Result<std::unique_ptr<Sequences>> MakeSequences(
      std::span<const std::size_t> sequence_tokens, const SequencesOptions& options) = 0;
  // Views of `weights` may be kept: its source must outlive the block.
  virtual Result<BlockPtr> Prepare(const model::BlockWeights& weights) = 0;
  // With nothing set.
  virtual BlockPtr NewBlock(kernels::Packed packed = kernels::Packed::kDense) = 0;
  // For a site of so many inputs; `paired`, where targets come with them: the original block, which
  // must outlive what is gathered.
  virtual std::unique_ptr<search::SiteGathering> BeginSite(const model::SiteRow& site,
                                                           std::size_t width,
                                                           const RunnableBlock* paired) = 0;
  // For all that was asked for. Error: the first that there was.
  virtual Status Wait() = 0;
  struct Use {
    std::string device = "cpu";      // or the GPU's name
    std::size_t peak_gpu_bytes = 0;  // of its memory
  };
  virtual Use use() const { return {}; }
};

// On the CPU, in that precision, or on a GPU (gpu/compute.h), which has its own. All must outlive
// it and what it makes.
Result<std::unique_ptr<Compute>> MakeCompute(ThreadPool& pool, const model::ModelConfig& config,
                                             math::Precision precision, std::optional<int> gpu);

// All of a block.
Result<BlockPtr> MakeBlock(Compute& compute, const model::ModelConfig& config,
                           const StoredBlock& stored,
                           kernels::Packed packed = kernels::Packed::kDense);

}  // namespace awq::pipeline
