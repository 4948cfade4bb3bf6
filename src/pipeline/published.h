// A block quantized on what the original model gives it: the published AWQ, rounding to nearest,
// and what the paper compares them with.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <map>
#include <memory>

#include "base/threads.h"
#include "model/weights.h"
#include "pipeline/fold.h"
#include "pipeline/method.h"
#include "pipeline/plan.h"
#include "pipeline/report.h"
#include "pipeline/stored_block.h"
#include "search/gathering.h"

namespace awq::pipeline {

// By the site's first reader. Empty for methods without calibration.
using BlockStatistics = std::map<model::Role, std::unique_ptr<search::SiteGathering>>;

// What the paper's code leaves unclipped is q and k: their product, not each alone, is what
// matters.
bool IsClipped(model::Role role);

struct PublishedBlock {
  StoredBlock stored;
  FoldPlan fold;
};
// Scales are chosen on the unscaled weights of all sites, then folded; then each linear is clipped
// and rounded. Sites and linears are added to the report.
Result<PublishedBlock> QuantizePublished(ThreadPool& pool, const model::ModelConfig& config,
                                         const Plan& plan, const Method& method, std::size_t layer,
                                         const model::BlockWeights& weights,
                                         const BlockStatistics& statistics, BlockReport& report);

}  // namespace awq::pipeline
