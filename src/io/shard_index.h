// model.safetensors.index.json: which shard holds which tensor.
#pragma once

#include <awq/result.h>

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace awq::io {

// The "weight_map": tensor name -> shard file name. At most 4096 files, whose names must be plain
// and end in
// ".safetensors", so that no index can point out of its directory. `name` stands in errors.
Result<std::map<std::string, std::string>> ParseIndex(std::string_view text,
                                                      const std::string& name);
// Its files, sorted, each once.
Result<std::vector<std::string>> ReadShardNames(std::string_view text, const std::string& name);

// True for a name without separators, control characters or a meaning of its own ("..").
bool IsPlainFileName(std::string_view name);

}  // namespace awq::io
