// Fields that more than one producer's quantization_config has.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "io/fields.h"

namespace awq::pack {

inline constexpr std::size_t kMaxGroupSize = std::size_t{1} << 20;
inline constexpr std::size_t kMaxPatterns = 16384;  // in all lists of module names
inline constexpr std::size_t kMaxExpressions = 64;  // regular expressions among them

// -1 is the whole row, which is 0 here.
Result<std::size_t> ReadGroupSize(const io::Fields& fields, const char* key);
int GroupSizeForConfig(std::size_t group_size);

// A list of at most kMaxPatterns strings; empty where it is null or absent.
Result<std::vector<std::string>> ReadStrings(const io::Fields& fields, const char* key);

}  // namespace awq::pack
