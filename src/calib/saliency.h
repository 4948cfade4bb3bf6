// Which input channels of each site are large: what AWQ protects (section 3.1 of the paper).
#pragma once

#include <awq/progress.h>
#include <awq/result.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/threads.h"
#include "math/matmul.h"
#include "model/weights.h"
#include "tensor/tensor.h"

namespace awq::calib {

struct SalientChannel {
  std::size_t channel = 0;
  double mean_abs = 0;     // mean |x| over all tokens
  double over_median = 0;  // the same over the median channel's; 0 where that is 0
};

struct SiteSaliency {
  std::size_t layer = 0;
  std::string site;                      // "qkv"
  std::vector<SalientChannel> channels;  // the largest, in order
  double top_1_percent_share = 0;        // of sum mean |x|, held by the top 1 % of the channels
};

struct SaliencyOptions {
  math::Precision precision = math::Precision::kF32;
  std::size_t top_channels = 5;
  ProgressSink* progress = nullptr;
};

// tokens [windows, ctx]. Holds the hidden states of all of them, and one block.
Result<std::vector<SiteSaliency>> MeasureSaliency(ThreadPool& pool,
                                                  const model::WeightSource& source,
                                                  const Matrix<std::int32_t>& tokens,
                                                  const SaliencyOptions& options);

}  // namespace awq::calib
