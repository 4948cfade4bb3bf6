// Calibration text from a file.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <filesystem>
#include <string>

namespace awq::calib {

// JSON lines (by the name, .jsonl or .json, or by the first line) are the "text" fields of the
// lines, with an empty line between them; any other file is the text itself. Gzip or not is told by
// the contents. At most about `limit_bytes` from the beginning are returned, and of a text file no
// more are read. Error: empty, binary, or a line without "text".
Result<std::string> ReadCalibrationText(const std::filesystem::path& path, std::size_t limit_bytes);

// Likewise, but all of it, be it empty. Error: above 4 GiB, too.
Result<std::string> ReadWholeText(const std::filesystem::path& path);

}  // namespace awq::calib
