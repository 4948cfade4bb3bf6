// The part that says which group an input feature belongs to (g_idx).
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "pack/format.h"

namespace awq::pack {

// I32 [in_features]; in order where group_of is empty.
void StoreGroupIndex(const Form& form, std::span<const std::uint32_t> group_of, std::byte* part);
// Empty without act_order. Errors: a group that does not exist, or has not group_size inputs;
// without act_order, any that is not k / group_size. `name` is the tensor's.
Result<std::vector<std::uint32_t>> LoadGroupIndex(const Form& form, const std::byte* part,
                                                  std::string_view name);

}  // namespace awq::pack
