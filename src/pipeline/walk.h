// Calibration tokens walked through the model block by block, for one way of quantizing it or for
// several at once: they share the pass through the original model.
#pragma once

#include <awq/progress.h>
#include <awq/result.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/threads.h"
#include "checkpoint/stored_model.h"
#include "pipeline/compute.h"
#include "pipeline/method.h"
#include "pipeline/plan.h"
#include "pipeline/published.h"
#include "pipeline/report.h"
#include "pipeline/sequential.h"
#include "pipeline/stored_block.h"

namespace awq::pipeline {

// Tokens of a site that are held out, about.
inline constexpr std::size_t kHeldOutRows = 512;

// One way of quantizing, and what it made of the block that was walked last.
struct Variant {
  const Method* method = nullptr;
  Plan plan;

  StoredBlock block;
  BlockReport report;
  double seconds = 0;  // so far: its own share, without what is shared
  // Walk's: its own inputs, where the method is sequential, and the same as the block began, where
  // it is polished.
  std::unique_ptr<HiddenStates> states;
  std::unique_ptr<HiddenStates> entered;
};

class Walk {
 public:
  // tokens [sequences, sequence_tokens]; may be empty where no method calibrates. All must outlive
  // the walk.
  // `precision`: of states that rest on a disk.
  Walk(ThreadPool& pool, Compute& compute, const checkpoint::StoredModel& model,
       const Matrix<std::int32_t>& tokens, math::Precision precision,
       std::vector<Variant*> variants, ProgressSink* progress);

  // Checks what is in no block, and embeds the tokens.
  Status Begin();
  // Quantizes the next block for every variant.
  Status QuantizeBlock();
  // The same for a block whose result is known: only the streams move on.
  Status TakeBlock(const std::function<Result<StoredBlock>()>& read);

  // After the last block: the final norm's weight as the output will hold it.
  Result<std::vector<F16>> FinalNorm(const Variant& variant);

  std::size_t layer() const { return layer_; }
  // Kept of every site, and in no statistic; 0 where there were too few sequences to spare one.
  std::size_t held_out_tokens() const;
  // So far: of what variants share, as much as a method by itself would need.
  double shared_seconds(const Method& method) const;

 private:
  // Tokens that the statistics are not made of: of whole sequences at the end, every so many.
  struct HeldOut {
    std::size_t first_token = 0;
    std::size_t step = 1;
    bool counted = false;  // too few sequences to spare one: held against them all the same
  };
  // Of one site, while its groups go by.
  struct Gathering {
    std::unique_ptr<search::SiteGathering> original;
    std::vector<std::unique_ptr<search::SiteGathering>> sequential;  // as variants_
  };
  using SequentialBlocks = std::vector<std::unique_ptr<SequentialBlock>>;  // as variants_

  bool Any(bool (*is)(const Method&)) const;
  bool follows_original() const;
  HeldOut ChooseHeldOut() const;
  Gathering BeginSite(const model::SiteRow& site, const RunnableBlock* original);
  void GatherGroup(const model::SiteRow& site, const Sequences::Group& group,
                   const RunnableBlock* original, const SequentialBlocks& blocks,
                   Gathering& gathering);
  TokenShare ShareOf(const Sequences::Group& group) const;
  Status SolveSite(const model::SiteRow& site, Gathering gathering, SequentialBlocks& blocks,
                   BlockStatistics& original);
  Status Finish(const model::BlockWeights& weights, SequentialBlocks& blocks,
                const BlockStatistics& original, const Matrix<float>& sample);
  // variant.block, and its states on through it. `first_pass` of the block's, for the progress.
  Status PolishBlock(Variant& variant, std::size_t first_pass);
  std::string block_name() const;
  void Progress(std::size_t pass, std::size_t tokens);

  ThreadPool& pool_;
  Compute& compute_;
  const checkpoint::StoredModel& model_;
  const model::ModelConfig& config_;
  const Matrix<std::int32_t>& tokens_;
  math::Precision precision_;
  std::vector<Variant*> variants_;
  ProgressSink* progress_;
  std::unique_ptr<Sequences> sequences_;  // from Begin on
  std::unique_ptr<HiddenStates> original_;
  HeldOut held_out_;
  std::size_t layer_ = 0;
  double shared_seconds_ = 0;      // of the pass through the original model
  double statistics_seconds_ = 0;  // of its statistics
};

}  // namespace awq::pipeline
