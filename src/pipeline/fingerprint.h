// Everything that decides the bytes of a run, in one line: an interrupted run is continued only by
// one with the same line.
#pragma once

#include <awq/result.h>

#include <string>

#include "checkpoint/stored_model.h"
#include "pipeline/quantize.h"

namespace awq::pipeline {

// Of a model's config.json and weight files.
Result<std::string> ModelFingerprint(const checkpoint::StoredModel& model);

Result<std::string> Fingerprint(const checkpoint::StoredModel& model,
                                const Matrix<std::int32_t>& tokens, const QuantizeOptions& options);

}  // namespace awq::pipeline
