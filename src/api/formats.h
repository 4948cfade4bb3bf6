// What --format names: a row of pack::Formats(), which is a directory, or GGUF, which is one file.
#pragma once

#include <awq/result.h>

#include <filesystem>
#include <string_view>

#include "pack/format.h"

namespace awq::api {

inline constexpr std::string_view kGguf = "gguf";

// Error: neither a row nor kGguf; lists them.
Result<const pack::Format*> FindFormat(std::string_view name);

// A GGUF file is named as one, and nothing else is.
Status CheckOutputName(std::string_view format, const std::filesystem::path& output);

// Whether the format holds such codes of any linear. Error: names the formats that do.
Status CheckHolds(std::string_view format, const quant::Spec& spec);

}  // namespace awq::api
