#include "api/calibration.h"

#include <algorithm>

#include "api/runtime.h"
#include "base/error.h"

namespace awq::api {

Result<calib::CalibrationTokens> Calibrate(ThreadPool& pool,
                                           const checkpoint::ModelDirectory& model,
                                           const CalibrationRequest& request,
                                           const Runtime& runtime) {
  AWQ_ASSIGN(const auto tokenizer, text::Tokenizer::Load(model.path()));
  const bool has_bos = calib::BosToken(model.config(), *tokenizer).has_value();
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
  if (request.calibration == "self") return calib::FromModel(pool, model, *tokenizer, options);
  return calib::FromFile(*tokenizer, model.config(), request.calibration, options);
}

}  // namespace awq::api
