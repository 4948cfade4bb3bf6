// Everything that decides the bytes of a run, in one line: an interrupted run is continued only by
// one with the same line.
#pragma once

#include <awq/result.h>

#include <filesystem>
#include <string>

#include "checkpoint/reader.h"
#include "pipeline/quantize.h"

namespace awq::pipeline {

// Of a directory's config.json and weight files.
Result<std::string> DirectoryFingerprint(const std::filesystem::path& directory);

Result<std::string> Fingerprint(const checkpoint::ModelDirectory& model,
                                const Matrix<std::int32_t>& tokens, const QuantizeOptions& options);

}  // namespace awq::pipeline
