#include "api/calibration.h"

#include <algorithm>

#include "api/runtime.h"
#include "base/error.h"
#include "pipeline/memory.h"

namespace awq::api {

Result<PreparedCalibration> PrepareCalibration(const checkpoint::ModelDirectory& model,
                                               const Calibration& request, const Runtime& runtime) {
  if (request.samples == 0 || request.sequence_tokens < 2) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "calibration with {} windows of {} tokens: expected at least 1 of at least 2",
                     request.samples, request.sequence_tokens);
  }
  PreparedCalibration prepared{.tokenizer = nullptr, .source = request.source, .options = {}};
  AWQ_ASSIGN(prepared.tokenizer, text::Tokenizer::Load(model.path()));
  const auto largest = static_cast<std::size_t>(std::max(0, prepared.tokenizer->max_id()));
  if (largest >= model.config().vocab_size) {
    Note(runtime,
         fmt::format("{}: tokenizer.json has ids up to {}, the model only {} tokens: texts that "
                     "need the others will be refused",
                     model.path().string(), largest, model.config().vocab_size));
  }
  const bool has_bos = calib::BosToken(model.config(), *prepared.tokenizer).has_value();
  calib::CalibrationOptions& options = prepared.options;
  options.samples = request.samples;
  options.sequence_tokens =
      std::min(request.sequence_tokens, model.config().max_position_embeddings);
  options.bos = request.bos ? ToBosMode(*request.bos)
                : has_bos   ? text::BosMode::kWindow
                            : text::BosMode::kNever;
  if (options.sequence_tokens < 2) {
    return MakeError(ErrorCode::kUnsupported,
                     "{}: max_position_embeddings is {}; calibration needs windows of 2 tokens",
                     model.path().string(), model.config().max_position_embeddings);
  }
  options.seed = request.seed;
  options.precision = ResolvePrecision(runtime.precision);
  options.progress = runtime.progress;
  if (options.sequence_tokens < request.sequence_tokens) {
    Note(runtime, fmt::format("calibration windows of {} tokens: the model takes no more",
                              options.sequence_tokens));
  }
  return prepared;
}

std::size_t SelfCalibrationBound(const checkpoint::ModelDirectory& model,
                                 const PreparedCalibration& calibration, std::size_t threads) {
  if (!calibration.from_model()) return 0;
  return pipeline::ProgramBytes(threads) +
         calib::SelfCalibrationBytes(model.config(), calibration.options);
}

Result<calib::CalibrationTokens> Calibrate(ThreadPool& pool,
                                           const checkpoint::ModelDirectory& model,
                                           const PreparedCalibration& calibration) {
  if (calibration.source == "builtin+self") {
    calib::CalibrationOptions options = calibration.options;
    options.samples = CeilDiv(calibration.options.samples, std::size_t{2});
    AWQ_ASSIGN(calib::CalibrationTokens builtin,
               calib::FromBuiltin(*calibration.tokenizer, model.config(), options));
    options.samples = calibration.options.samples - builtin.ids.rows();
    if (options.samples == 0) return builtin;
    AWQ_ASSIGN(const calib::CalibrationTokens self,
               calib::FromModel(pool, model, *calibration.tokenizer, options));
    return calib::Interleave(builtin, self);
  }
  if (calibration.source == "self") {
    return calib::FromModel(pool, model, *calibration.tokenizer, calibration.options);
  }
  if (calibration.source == "builtin") {
    return calib::FromBuiltin(*calibration.tokenizer, model.config(), calibration.options);
  }
  return calib::FromFile(*calibration.tokenizer, model.config(), calibration.source,
                         calibration.options);
}

}  // namespace awq::api
