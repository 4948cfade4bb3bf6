#include "pipeline/block_search.h"

#include <chrono>

#include "base/error.h"
#include "quant/group.h"
#include "search/awq.h"

namespace awq::pipeline {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// The paper's code leaves these unclipped: their product, not each alone, is what matters.
bool IsClipped(model::Role role) { return role != model::Role::kQ && role != model::Role::kK; }

struct SiteWeights {
  std::vector<Matrix<float>> owned;
  std::vector<MatrixView<const float>> views;
  quant::Spec spec;
};

// The site's quantized linears, unscaled.
Result<SiteWeights> LoadSite(ThreadPool& pool, const model::BlockWeights& weights, const Plan& plan,
                             const model::SiteRow& site) {
  SiteWeights loaded;
  for (model::Role reader : site.readers) {
    const PlannedLinear& planned = plan.linear(reader);
    if (!planned.quantized()) continue;
    const model::Linear& linear = weights.linear(reader);
    loaded.spec = planned.spec;
    loaded.owned.push_back(FoldedWeight(pool, linear, reader, FoldPlan{}));
    AWQ_TRY(quant::CheckWeights(pool, loaded.owned.back(), planned.spec, linear.name));
  }
  for (const Matrix<float>& each : loaded.owned) loaded.views.push_back(each.view());
  return loaded;
}

}  // namespace

Result<FoldPlan> SearchScales(ThreadPool& pool, const model::ModelConfig& config,
                              const model::BlockWeights& weights, const Plan& plan,
                              BlockStatistics& statistics, std::vector<SiteReport>& reports) {
  FoldPlan fold;
  for (const model::SiteRow& site : config.arch->sites) {
    const auto start = Clock::now();
    search::SiteStatistics& inputs = statistics.at(site.readers.front());
    SiteReport report;
    report.name = std::string(site.name);
    report.obstacle = FoldObstacle(config, site);
    AWQ_ASSIGN(const SiteWeights loaded, LoadSite(pool, weights, plan, site));
    if (loaded.views.empty()) report.obstacle = "none of its linears is quantized";
    if (report.obstacle.empty()) {
      const search::ScaleChoice choice =
          search::SearchScale(pool, loaded.views, inputs, loaded.spec);
      report.alpha = choice.alpha;
      report.rtn_error = choice.identity_loss;
      report.error = choice.loss;
      fold.Add(site, choice.scale);
      search::ScaleStatistics(pool, choice.scale, inputs);
    }
    report.seconds = SecondsSince(start);
    reports.push_back(std::move(report));
  }
  return fold;
}

Result<RoundedLinear> RoundLinear(ThreadPool& pool, const model::Linear& linear, model::Role role,
                                  const PlannedLinear& planned, const FoldPlan& fold,
                                  const search::SiteStatistics* statistics) {
  const auto start = Clock::now();
  const Matrix<float> folded = FoldedWeight(pool, linear, role, fold);
  AWQ_TRY(quant::CheckWeights(pool, folded, planned.spec, linear.name));
  RoundedLinear rounded;
  if (statistics != nullptr && IsClipped(role)) {
    const search::Clip clip = search::SearchClip(pool, folded, statistics->gram, planned.spec);
    rounded.weights = search::Round(pool, folded, planned.spec, &clip);
  } else {
    rounded.weights = search::Round(pool, folded, planned.spec);
  }
  rounded.report.name = linear.name;
  rounded.report.bits = planned.spec.bits;
  rounded.report.group_size = planned.spec.group_size;
  if (statistics != nullptr) {
    const double error =
        search::MeasureOutputError(pool, folded, rounded.weights, statistics->gram);
    const double energy = search::MeasureOutputEnergy(pool, folded, *statistics);
    rounded.report.error = error;
    rounded.report.relative_error = energy > 0 ? error / energy : 0;
  }
  rounded.report.seconds = SecondsSince(start);
  return rounded;
}

}  // namespace awq::pipeline
