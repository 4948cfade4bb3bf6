#include "pack/awq_padding.h"

#include <algorithm>

#include "base/checked.h"
#include "base/error.h"

namespace awq::pack {
namespace {

constexpr std::size_t kPerWord = 8;

}  // namespace

std::size_t PaddedGroups(const Form& form) {
  const std::size_t group = form.group_size();
  const std::size_t words = group >= 128 ? 1 : group == 64 ? 2 : 4;
  return RoundUp(form.groups(), words * kPerWord);
}

std::string RefusesForGemv(const Form& form, std::size_t in_multiple) {
  if (form.spec.bits != 4) {
    return fmt::format("it holds 4-bit codes, not {}-bit ones", form.spec.bits);
  }
  if (form.out_features % kPerWord != 0) {
    return fmt::format("out_features {} is no multiple of {}", form.out_features, kPerWord);
  }
  if (form.in_features % in_multiple != 0) {
    return fmt::format("in_features {} is no multiple of {}", form.in_features, in_multiple);
  }
  const std::size_t group = form.group_size();
  if (group != 32 && group != 64 && group < 128) {
    return fmt::format("its groups have 32, 64, 128 or more input features, not {}", group);
  }
  return "";
}

bool IsZero(const std::byte* bytes, std::size_t count) {
  return std::all_of(bytes, bytes + count, [](std::byte byte) { return byte == std::byte{0}; });
}

Error PaddingError(std::string_view module) {
  return MakeError(ErrorCode::kCorrupt,
                   "{}: zero points or scales beyond the last group are not 0; the tensors are "
                   "of another packing or group size",
                   module);
}

}  // namespace awq::pack
