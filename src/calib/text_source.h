// Calibration text from a file.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <filesystem>
#include <string>

namespace awq::calib {

// A .jsonl file (".jsonl" or ".jsonl.gz") is the "text" fields of its lines, with an empty line
// between them; any other file is the text itself. Gzip or not is told by the contents. At most
// about `limit_bytes` from the beginning are returned. Error: empty, binary, or a line without
// "text".
Result<std::string> ReadCalibrationText(const std::filesystem::path& path, std::size_t limit_bytes);

}  // namespace awq::calib
