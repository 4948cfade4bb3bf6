// What calibration gathers of one site, wherever that is: statistics.h has it on the CPU,
// gpu/statistics.h on a GPU.
#pragma once

#include <cstddef>
#include <optional>
#include <utility>

#include "base/threads.h"
#include "search/site.h"
#include "search/statistics.h"

namespace awq::search {

class SiteGathering {
 public:
  SiteGathering() = default;
  SiteGathering(const SiteGathering&) = delete;
  SiteGathering& operator=(const SiteGathering&) = delete;
  virtual ~SiteGathering() = default;

  // Infinities and NaNs seen so far; where there are any, the rest is worthless.
  virtual std::size_t CountNonfinite() = 0;
  // Either, once. Precondition: there were tokens.
  virtual SiteSolution Solve(const SiteProblem& problem, const SiteOptions& options) = 0;
  virtual SiteStatistics Finish() = 0;
};

class HostGathering final : public SiteGathering {
 public:
  HostGathering(ThreadPool& pool, std::size_t in_features)
      : pool_(pool), sums_(std::in_place, in_features, Gather::kSequential) {}

  StatisticsAccumulator& sums() { return *sums_; }
  std::size_t CountNonfinite() override { return sums_->nonfinite(); }
  SiteSolution Solve(const SiteProblem& problem, const SiteOptions& options) override {
    return SolveSite(pool_, problem, Finish(), options);
  }
  SiteStatistics Finish() override {
    SiteStatistics finished = std::move(*sums_).Finish();
    sums_.reset();  // its scratch memory too
    return finished;
  }

 private:
  ThreadPool& pool_;
  std::optional<StatisticsAccumulator> sums_;
};

}  // namespace awq::search
