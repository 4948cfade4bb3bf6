#include "pack/config_fields.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace awq::pack {

Result<std::size_t> ReadGroupSize(const io::Fields& fields, const char* key) {
  const nlohmann::json* value = fields.Find(key);
  if (value != nullptr && *value == -1) return std::size_t{0};
  return fields.Size(key, {1, kMaxGroupSize});
}

int GroupSizeForConfig(std::size_t group_size) {
  return group_size == 0 ? -1 : static_cast<int>(group_size);
}

Result<std::vector<std::string>> ReadStrings(const io::Fields& fields, const char* key) {
  std::vector<std::string> strings;
  const nlohmann::json* list = fields.Find(key);
  if (list == nullptr) return strings;
  const bool fits = list->is_array() && list->size() <= kMaxPatterns &&
                    std::all_of(list->begin(), list->end(),
                                [](const nlohmann::json& item) { return item.is_string(); });
  if (!fits) {
    return MakeError(ErrorCode::kCorrupt,
                     "{}: {} is {}; expected null or a list of at most {} strings", fields.place(),
                     key, io::Excerpt(*list), kMaxPatterns);
  }
  for (const nlohmann::json& item : *list) strings.push_back(item.get<std::string>());
  return strings;
}

}  // namespace awq::pack
