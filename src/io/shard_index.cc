#include "io/shard_index.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "io/json.h"

namespace awq::io {
namespace {

constexpr std::size_t kMaxShards = 4096;
constexpr std::size_t kMaxNameBytes = 255;  // what file systems allow

}  // namespace

bool IsPlainFileName(std::string_view name) {
  const auto is_unsafe = [](unsigned char c) {
    return c < 0x20 || c == 0x7f || c == '/' || c == '\\';
  };
  return !name.empty() && name.size() <= kMaxNameBytes && name != "." && name != ".." &&
         std::none_of(name.begin(), name.end(), is_unsafe);
}

Result<std::map<std::string, std::string>> ParseIndex(std::string_view text,
                                                      const std::string& name) {
  AWQ_ASSIGN(const nlohmann::json index, io::ParseJson(text, name));
  const auto weight_map = index.is_object() ? index.find("weight_map") : index.end();
  if (weight_map == index.end() || !weight_map->is_object() || weight_map->empty()) {
    return MakeError(ErrorCode::kCorrupt,
                     "{}: \"weight_map\" must be an object that gives every tensor its file", name);
  }
  std::map<std::string, std::string> files;
  std::set<std::string> distinct;
  for (const auto& [tensor, value] : weight_map->items()) {
    const std::string file = value.is_string() ? value.get<std::string>() : "";
    if (!IsPlainFileName(file) || !file.ends_with(".safetensors")) {
      return MakeError(ErrorCode::kCorrupt,
                       "{}: the file of tensor {} must be the plain name of a .safetensors file "
                       "beside the index",
                       name, tensor);
    }
    distinct.insert(file);
    if (distinct.size() > kMaxShards) {
      return MakeError(ErrorCode::kCorrupt, "{}: names more than {} files", name, kMaxShards);
    }
    files.emplace(tensor, file);
  }
  return files;
}

Result<std::vector<std::string>> ReadShardNames(std::string_view text, const std::string& name) {
  AWQ_ASSIGN(const auto files, ParseIndex(text, name));
  std::set<std::string> names;
  for (const auto& [tensor, file] : files) names.insert(file);
  return std::vector<std::string>(names.begin(), names.end());
}

}  // namespace awq::io
