// AutoAWQ's gemv layouts pad the groups of a row with zeros.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <string>
#include <string_view>

#include "pack/format.h"

namespace awq::pack {

// The number of groups that is stored: a multiple of 8, for small groups of 16 or 32.
std::size_t PaddedGroups(const Form& form);
// Bits, widths and groups that the gemv layouts do not have; in_features must be a multiple of
// `in_multiple`.
std::string RefusesForGemv(const Form& form, std::size_t in_multiple);

bool IsZero(const std::byte* bytes, std::size_t count);
Error PaddingError(std::string_view module);

}  // namespace awq::pack
