#include "calib/collector.h"

#include <utility>

#include "base/error.h"

namespace awq::calib {

Status CheckFinite(std::size_t nonfinite, const std::string& block) {
  if (nonfinite == 0) return {};
  return MakeError(ErrorCode::kCorrupt,
                   "{}: {} of its activations are infinite or NaN; the weights up to here are "
                   "damaged, or the text does not fit the model (try --precision f32)",
                   block, nonfinite);
}

void Collector::OnInput(model::Role reader, const kernels::Activations& input) {
  auto& site = sites_[reader];
  if (!site) site = std::make_unique<search::StatisticsAccumulator>(input.width(), what_);
  if (input.precision() == kernels::Precision::kBF16) {
    site->Add(pool_, input.bf16());
  } else {
    site->Add(pool_, input.f32());
  }
}

Result<std::map<model::Role, search::SiteStatistics>> Collector::Finish(
    const std::string& block) && {
  std::map<model::Role, search::SiteStatistics> finished;
  for (auto& [reader, site] : sites_) {
    AWQ_TRY(CheckFinite(site->nonfinite(), block));
    finished.emplace(reader, std::move(*site).Finish());
    site.reset();
  }
  return finished;
}

}  // namespace awq::calib
