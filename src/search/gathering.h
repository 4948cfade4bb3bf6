// What calibration gathers of one site, wherever that is: HostGathering has it on the CPU,
// gpu/gathering.h on a GPU.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <utility>

#include "base/threads.h"
#include "search/site_arithmetic.h"
#include "search/site_host.h"
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
  // What was gathered, for some of the site's linears; ends the gathering. For one after another:
  // they share what was gathered, and so what one of them lets go of is gone. This and the linears
  // must outlive it. Precondition: there were tokens.
  virtual std::unique_ptr<SiteArithmetic> Arithmetic(const ScaledLinears& linears) = 0;
};

class HostGathering final : public SiteGathering {
 public:
  HostGathering(ThreadPool& pool, std::size_t in_features)
      : pool_(pool), sums_(std::in_place, in_features, Gather::kSequential) {}

  StatisticsAccumulator& sums() { return *sums_; }
  std::size_t CountNonfinite() override { return sums_->nonfinite(); }
  std::unique_ptr<SiteArithmetic> Arithmetic(const ScaledLinears& linears) override {
    if (sums_) {
      statistics_ = std::move(*sums_).Finish();
      sums_.reset();  // its scratch memory too
    }
    return std::make_unique<HostArithmetic>(pool_, linears, statistics_);
  }

 private:
  ThreadPool& pool_;
  std::optional<StatisticsAccumulator> sums_;
  SiteStatistics statistics_;
};

}  // namespace awq::search
