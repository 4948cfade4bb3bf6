// A block quantized site by site, on the inputs that the quantized blocks and sites before give.
#pragma once

#include <awq/result.h>

#include "base/threads.h"
#include "model/weights.h"
#include "pipeline/compute.h"
#include "pipeline/fold.h"
#include "pipeline/method.h"
#include "pipeline/plan.h"
#include "pipeline/report.h"
#include "pipeline/stored_block.h"

namespace awq::pipeline {

class SequentialBlock {
 public:
  // All must outlive it.
  SequentialBlock(ThreadPool& pool, Compute& compute, const model::ModelConfig& config,
                  const Plan& plan, const Method& method, std::size_t layer,
                  const model::BlockWeights& weights);
  Status Begin();

  // The block as far as it is quantized: enough to run up to the next site. Its linears compute as
  // a reader of the output would.
  const RunnableBlock& prepared() const { return *prepared_; }

  // Sites in the order of the architecture's table; what was gathered is of what prepared() gives
  // the site, paired with what the original block gives it.
  Status Solve(const model::SiteRow& site, search::SiteGathering& gathered, BlockReport& report);

  const FoldPlan& fold() const { return fold_; }
  const StoredBlock& stored() const { return stored_; }
  StoredBlock TakeStored() { return std::move(stored_); }

 private:
  struct Solved {
    std::vector<model::Role> roles;  // of the site's quantized linears
    search::SiteSolution solution;
  };
  Result<Solved> SolveLinears(const model::SiteRow& site, search::SiteGathering& gathered,
                              const Result<search::HeadTie>& tie);
  Result<Matrix<float>> Divided(const model::SiteRow& site, const search::HeadTie& tie,
                                const search::Scale& scale) const;
  Status FoldIntoProducer(const model::SiteRow& site, const search::HeadTie& tie,
                          const search::Scale& scale);
  // Bias, and weights that are not quantized, from the original ones; then makes the linear ready.
  Status Store(model::Role role);
  // Those of stored_ anew, and ready.
  Status StoreNorms();

  ThreadPool& pool_;
  Compute& compute_;
  const model::ModelConfig& config_;
  const Plan& plan_;
  const Method& method_;
  std::size_t layer_;
  const model::BlockWeights& weights_;
  FoldPlan fold_;
  StoredBlock stored_;
  BlockPtr prepared_;
};

}  // namespace awq::pipeline
