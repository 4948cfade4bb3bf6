// JSON text as a tree; every failure names the file.
#pragma once

#include <awq/result.h>

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string_view>

namespace awq::io {

// `name` stands in error messages. Refuses nesting deeper than 256 and anything after the value.
Result<nlohmann::json> ParseJson(std::string_view text, std::string_view name);

// Refuses files larger than `limit_bytes`.
Result<nlohmann::json> ReadJson(const std::filesystem::path& path,
                                std::size_t limit_bytes = std::size_t{256} << 20);

}  // namespace awq::io
