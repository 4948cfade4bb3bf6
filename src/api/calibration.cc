#include "api/calibration.h"

#include <algorithm>

#include "api/runtime.h"
#include "base/error.h"

namespace awq::api {

calib::CalibrationOptions ToCalibration(const checkpoint::ModelDirectory& model,
                                        const text::Tokenizer& tokenizer,
                                        const CalibrationRequest& request, const Runtime& runtime) {
  const bool has_bos = calib::BosToken(model.config(), tokenizer).has_value();
  calib::CalibrationOptions options;
  options.samples = request.samples;
  options.sequence_tokens =
      std::min(request.sequence_tokens, model.config().max_position_embeddings);
  options.bos = request.bos ? ToBosMode(*request.bos)
                : has_bos   ? text::BosMode::kWindow
                            : text::BosMode::kNever;
  options.seed = request.seed;
  options.precision = ResolvePrecision(runtime.precision);
  options.progress = runtime.progress;
  return options;
}

Result<calib::CalibrationTokens> Calibrate(ThreadPool& pool,
                                           const checkpoint::ModelDirectory& model,
                                           const CalibrationRequest& request,
                                           const Runtime& runtime) {
  AWQ_ASSIGN(const auto tokenizer, text::Tokenizer::Load(model.path()));
  const calib::CalibrationOptions options = ToCalibration(model, *tokenizer, request, runtime);
  if (options.sequence_tokens < request.sequence_tokens) {
    Note(runtime, fmt::format("calibration windows of {} tokens: the model takes no more",
                              options.sequence_tokens));
  }
  if (request.calibration == "self") return calib::FromModel(pool, model, *tokenizer, options);
  return calib::FromFile(*tokenizer, model.config(), request.calibration, options);
}

}  // namespace awq::api
