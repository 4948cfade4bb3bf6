// Calibration as quantize and inspect ask for it.
#pragma once

#include <awq/awq.h>

#include "base/threads.h"
#include "calib/tokens.h"
#include "checkpoint/reader.h"

namespace awq::api {

struct CalibrationRequest {
  std::string calibration;  // a file, or "self"
  std::size_t samples = 0;
  std::size_t sequence_tokens = 0;  // cut to what the model can take
  std::optional<Bos> bos = std::nullopt;
  std::uint64_t seed = 0;
};

// How the request reads for this model: windows no longer than it takes, BOS where there is one.
calib::CalibrationOptions ToCalibration(const checkpoint::ModelDirectory& model,
                                        const text::Tokenizer& tokenizer,
                                        const CalibrationRequest& request, const Runtime& runtime);

Result<calib::CalibrationTokens> Calibrate(ThreadPool& pool,
                                           const checkpoint::ModelDirectory& model,
                                           const CalibrationRequest& request,
                                           const Runtime& runtime);

}  // namespace awq::api
