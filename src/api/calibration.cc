#include "api/calibration.h"

#include <algorithm>

#include "api/runtime.h"
#include "base/error.h"
#include "io/file.h"
#include "pipeline/memory.h"

namespace awq::api {
namespace {

Status CheckIsThere(const std::string& source) {
  const auto start = io::ReadFileStart(source, 1);
  if (start) return {};
  const Error& error = start.error();
  if (error.code != ErrorCode::kNotFound) return error;
  return MakeError(error.code, "{}; calibration takes a file, or one of {}, {} and {}",
                   error.message, kBuiltin, kSelf, kBuiltinAndSelf);
}

}  // namespace

Result<PreparedCalibration> PrepareCalibration(const checkpoint::StoredModel& model,
                                               const Calibration& request, const Runtime& runtime) {
  if (request.samples == 0 || request.sequence_tokens < 2) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "calibration with {} windows of {} tokens: expected at least 1 of at least 2",
                     request.samples, request.sequence_tokens);
  }
  PreparedCalibration prepared{.tokenizer = nullptr, .source = request.source, .options = {}};
  if (prepared.from_file()) AWQ_TRY(CheckIsThere(prepared.source));
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

std::size_t SelfCalibrationBound(const checkpoint::StoredModel& model,
                                 const PreparedCalibration& calibration, std::size_t threads) {
  if (!calibration.from_model()) return 0;
  return pipeline::ProgramBytes(threads) + model.converted_bytes() +
         calib::SelfCalibrationBytes(model.config(), calibration.options);
}

Result<calib::CalibrationTokens> Calibrate(ThreadPool& pool, const checkpoint::StoredModel& model,
                                           const PreparedCalibration& calibration) {
  const text::Tokenizer& tokenizer = *calibration.tokenizer;
  const calib::CalibrationOptions& options = calibration.options;
  if (calibration.source == kSelf) return calib::FromModel(pool, model, tokenizer, options);
  if (calibration.source == kBuiltin) {
    return calib::FromBuiltin(tokenizer, model.config(), options);
  }
  if (calibration.source != kBuiltinAndSelf) {
    return calib::FromFile(tokenizer, model.config(), calibration.source, options);
  }
  calib::CalibrationOptions half = options;
  half.samples = options.samples - options.samples / 2;
  AWQ_ASSIGN(calib::CalibrationTokens builtin, calib::FromBuiltin(tokenizer, model.config(), half));
  half.samples = options.samples - builtin.ids.rows();
  if (half.samples == 0) return builtin;
  AWQ_ASSIGN(const calib::CalibrationTokens self, calib::FromModel(pool, model, tokenizer, half));
  return calib::Interleave(builtin, self);
}

}  // namespace awq::api
