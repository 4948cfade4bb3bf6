#include "search/gpu/gathering.h"

#include <utility>

#include "base/checked.h"
#include "search/gpu/site.h"
#include "search/site_host.h"

namespace awq::search::gpu {

void DeviceGathering::Add(const DeviceRows& rows, std::size_t counted, std::size_t held,
                          std::size_t step) {
  if (counted > 0) sums_->Add(rows.inputs, rows.targets, static_cast<int>(counted));
  if (held >= rows.tokens) return;
  sums_->HoldOut(rows.inputs, rows.targets, static_cast<int>(held), static_cast<int>(step),
                 static_cast<int>(CeilDiv(rows.tokens - held, step)));
}

std::unique_ptr<SiteArithmetic> DeviceGathering::Arithmetic(const ScaledLinears& linears) {
  if (sums_) {
    there_ = std::move(*sums_).Finish();
    sums_.reset();  // its scratch memory too
  }
  if (!here_ && !CanHold(linears.spec, there_.mean_abs.size(), queue_.shared_bytes())) {
    here_ = Downloaded(queue_, std::move(there_));
  }
  if (here_) return std::make_unique<HostArithmetic>(pool_, linears, *here_);
  return std::make_unique<DeviceArithmetic>(queue_, linears, there_);
}

}  // namespace awq::search::gpu
