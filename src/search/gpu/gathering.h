// What calibration gathers of one site on a GPU, and solves there.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>

#include "base/threads.h"
#include "search/gathering.h"
#include "search/gpu/statistics.h"

namespace awq::search::gpu {

// On the device.
struct DeviceRows {
  const void* inputs = nullptr;   // bf16 [tokens, in]
  const void* targets = nullptr;  // likewise; null: none
  std::size_t tokens = 0;
};

// Where the queue has a fault, what comes of it is of no use.
class DeviceGathering final : public SiteGathering {
 public:
  // in: a multiple of 8. Pool and queue must outlive it.
  DeviceGathering(ThreadPool& pool, Queue& queue, std::size_t in, bool paired)
      : pool_(pool), queue_(queue), sums_(std::in_place, queue, in, paired) {}

  // The first `counted` rows are for the statistics; `held`, `held` + `step`, ..., are held out
  // (none, from the last row on).
  void Add(const DeviceRows& rows, std::size_t counted, std::size_t held, std::size_t step);
  std::size_t CountNonfinite() override { return sums_->CountNonfinite(); }
  // On the CPU from the first that the kernels do not hold (CanHold).
  std::unique_ptr<SiteArithmetic> Arithmetic(const ScaledLinears& linears) override;

 private:
  ThreadPool& pool_;
  Queue& queue_;
  std::optional<DeviceAccumulator> sums_;
  DeviceStatistics there_;
  std::optional<SiteStatistics> here_;
};

}  // namespace awq::search::gpu
