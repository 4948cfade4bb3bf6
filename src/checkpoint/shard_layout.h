// Where every tensor of a model goes: which shard, which bytes. Depends on nothing but its input.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "io/safetensors.h"

namespace awq::checkpoint {

struct Shard {
  std::string file_name;
  std::string header;                   // length prefix included
  std::vector<io::TensorInfo> tensors;  // offsets from the start of the file
  std::size_t file_bytes = 0;
};

struct ShardLayout {
  struct Place {
    std::size_t shard = 0;
    std::size_t tensor = 0;
  };

  std::vector<Shard> shards;
  std::map<std::string, Place> places;  // by tensor name
  std::size_t tensor_bytes = 0;

  const io::TensorInfo& info(const Place& place) const {
    return shards[place.shard].tensors[place.tensor];
  }
  // model.safetensors.index.json as transformers writes it.
  std::string IndexText() const;
  // Equal for equal layouts, and in practice for no others (64-bit FNV-1a of all headers).
  std::string Digest() const;
};

// In the given order; a shard is closed before its tensors would exceed `shard_bytes`. Errors: a
// repeated name, a size that contradicts the shape.
Result<ShardLayout> PlanShards(std::vector<io::TensorInfo> tensors, std::size_t shard_bytes);

}  // namespace awq::checkpoint
