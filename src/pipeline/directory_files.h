// The small files of an output directory: config.json with its quantization_config, and copies.
#pragma once

#include <awq/result.h>

#include <filesystem>

#include "checkpoint/writer.h"
#include "pipeline/plan.h"

namespace awq::pipeline {

Status WriteDirectoryFiles(checkpoint::DirectoryWriter& writer, const std::filesystem::path& model,
                           const Plan& plan);

}  // namespace awq::pipeline
