// The decisions for one block: a scale per site, then codes per linear.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/threads.h"
#include "model/weights.h"
#include "pipeline/fold.h"
#include "pipeline/plan.h"
#include "search/statistics.h"

namespace awq::pipeline {

enum class Method : unsigned char { kRtn, kAwq };

// By the site's first reader, as calib::Collector gives them. Empty for methods without
// calibration.
using BlockStatistics = std::map<model::Role, search::SiteStatistics>;

struct SiteReport {
  std::string name;      // "qkv"
  double alpha = 0;      // the chosen exponent; 0 is the identity
  double rtn_error = 0;  // tr(D H D^T) of round-to-nearest, over the site's linears
  double error = 0;      // the same with the chosen scale, before clipping
  std::string obstacle;  // why no scale was searched; empty if one was
  double seconds = 0;
};

struct LinearReport {
  std::string name;
  int bits = 0;
  std::size_t group_size = 0;
  // Mean over tokens of the squared output error, as a share of the output's; none for methods
  // without calibration.
  std::optional<double> relative_error;
  double error = 0;
  double seconds = 0;
};

// Chooses the scales of all sites on the unscaled weights, as published, and scales the
// statistics' Gram matrices to match.
Result<FoldPlan> SearchScales(ThreadPool& pool, const model::ModelConfig& config,
                              const model::BlockWeights& weights, const Plan& plan,
                              BlockStatistics& statistics, std::vector<SiteReport>& reports);

// Folds, clips (all but q and k, as published) and rounds one linear. The statistics are those
// that SearchScales left, or null.
struct RoundedLinear {
  quant::QuantizedLinear weights;
  LinearReport report;
};
Result<RoundedLinear> RoundLinear(ThreadPool& pool, const model::Linear& linear, model::Role role,
                                  const PlannedLinear& planned, const FoldPlan& fold,
                                  const search::SiteStatistics* statistics);

}  // namespace awq::pipeline
