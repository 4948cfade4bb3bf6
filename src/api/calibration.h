// Calibration as quantize and inspect ask for it.
#pragma once

#include <awq/awq.h>

#include <memory>
#include <string_view>

#include "base/threads.h"
#include "calib/tokens.h"
#include "checkpoint/stored_model.h"

namespace awq::api {

// Sources that are no files.
inline constexpr std::string_view kBuiltin = "builtin";
inline constexpr std::string_view kSelf = "self";
inline constexpr std::string_view kBuiltinAndSelf = "builtin+self";

// A request as it reads for one model: windows no longer than it takes, BOS where there is one.
struct PreparedCalibration {
  std::shared_ptr<const text::Tokenizer> tokenizer;
  std::string source;
  calib::CalibrationOptions options;

  // Some of it, or all.
  bool from_model() const { return source == kSelf || source == kBuiltinAndSelf; }
  bool from_file() const { return !from_model() && source != kBuiltin; }
};

// Refuses a file that cannot be read. Tells the sink where the windows had to be cut.
Result<PreparedCalibration> PrepareCalibration(const checkpoint::StoredModel& model,
                                               const Calibration& request, const Runtime& runtime);

// The most that is allocated while the model writes its calibration text; 0 where it does not.
std::size_t SelfCalibrationBound(const checkpoint::StoredModel& model,
                                 const PreparedCalibration& calibration, std::size_t threads);

Result<calib::CalibrationTokens> Calibrate(ThreadPool& pool, const checkpoint::StoredModel& model,
                                           const PreparedCalibration& calibration);

}  // namespace awq::api
