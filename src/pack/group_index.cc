#include "pack/group_index.h"

#include <cstring>
#include <vector>

#include "base/error.h"

namespace awq::pack {

void StoreGroupIndex(const Form& form, std::span<const std::uint32_t> group_of, std::byte* part) {
  for (std::size_t k = 0; k < form.in_features; ++k) {
    const std::uint32_t group =
        group_of.empty() ? static_cast<std::uint32_t>(k / form.group_size()) : group_of[k];
    std::memcpy(part + k * sizeof(group), &group, sizeof(group));
  }
}

Result<std::vector<std::uint32_t>> LoadGroupIndex(const Form& form, const std::byte* part,
                                                  std::string_view name) {
  std::vector<std::uint32_t> group_of;
  std::vector<std::size_t> inputs(form.groups());
  for (std::size_t k = 0; k < form.in_features; ++k) {
    std::uint32_t group = 0;
    std::memcpy(&group, part + k * sizeof(group), sizeof(group));
    if (group >= form.groups()) {
      return MakeError(ErrorCode::kCorrupt,
                       "{}: puts input feature {} into group {}; there are {} groups", name, k,
                       static_cast<std::int32_t>(group), form.groups());
    }
    ++inputs[group];
    if (form.spec.act_order) {
      group_of.push_back(group);
    } else if (group != k / form.group_size()) {
      return MakeError(ErrorCode::kCorrupt,
                       "{}: puts input feature {} into group {}; config.json speaks of no act "
                       "order, by which it is of group {}",
                       name, k, group, k / form.group_size());
    }
  }
  for (std::size_t group = 0; group < form.groups(); ++group) {
    // Fast readers sort the inputs by group and take so many for each.
    if (inputs[group] != form.group_size()) {
      return MakeError(ErrorCode::kCorrupt,
                       "{}: puts {} input features into group {}; group_size makes it {}", name,
                       inputs[group], group, form.group_size());
    }
  }
  return group_of;
}

}  // namespace awq::pack
