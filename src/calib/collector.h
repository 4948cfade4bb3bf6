// Gathers the statistics of every site of one block while batches run through it.
#pragma once

#include <awq/result.h>

#include <map>
#include <memory>
#include <string>

#include "search/statistics.h"
#include "transformer/block.h"

namespace awq::calib {

// Error: there are activations that are not finite, in `block`.
Status CheckFinite(std::size_t nonfinite, const std::string& block);

class Collector final : public transformer::Observer {
 public:
  explicit Collector(ThreadPool& pool, search::Gather what = search::Gather::kAll)
      : pool_(pool), what_(what) {}

  void OnInput(model::Role reader, const kernels::Activations& input) override;

  // By the site's first reader; the collector is spent.
  Result<std::map<model::Role, search::SiteStatistics>> Finish(const std::string& block) &&;

 private:
  ThreadPool& pool_;
  search::Gather what_;
  std::map<model::Role, std::unique_ptr<search::StatisticsAccumulator>> sites_;
};

}  // namespace awq::calib
