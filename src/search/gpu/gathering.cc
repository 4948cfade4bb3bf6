#include "search/gpu/gathering.h"

#include <utility>

#include "base/checked.h"
#include "search/gpu/site.h"

namespace awq::search::gpu {

void DeviceGathering::Add(const DeviceRows& rows, std::size_t counted, std::size_t held,
                          std::size_t step) {
  if (counted > 0) sums_->Add(rows.inputs, rows.targets, static_cast<int>(counted));
  if (held >= rows.tokens) return;
  sums_->HoldOut(rows.inputs, rows.targets, static_cast<int>(held), static_cast<int>(step),
                 static_cast<int>(CeilDiv(rows.tokens - held, step)));
}

DeviceStatistics DeviceGathering::FinishThere() {
  DeviceStatistics finished = std::move(*sums_).Finish();
  sums_.reset();  // its scratch memory too
  return finished;
}

SiteSolution DeviceGathering::Solve(const SiteProblem& problem, const SiteOptions& options) {
  DeviceStatistics found = FinishThere();
  if (!CanHold(problem.linears.spec, found.mean_abs.size())) {
    SiteStatistics here = Downloaded(queue_, std::move(found));
    if (queue_.fault()) return {};
    return SolveSite(pool_, problem, std::move(here), options);
  }
  DeviceArithmetic arithmetic(queue_, problem, std::move(found), options);
  return SolveSite(arithmetic, problem, options);
}

}  // namespace awq::search::gpu
