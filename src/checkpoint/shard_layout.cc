#include "checkpoint/shard_layout.h"

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "base/checked.h"
#include "base/error.h"

namespace awq::checkpoint {
namespace {

Status CheckSize(const io::TensorInfo& info) {
  std::optional<std::size_t> expected = ElementBytes(info.dtype);
  for (const std::size_t extent : info.shape) {
    if (expected) expected = CheckedProduct({*expected, extent});
  }
  if (info.name.empty() || expected != info.size_bytes) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "tensor \"{}\" {} {} cannot be written as {} bytes", info.name,
                     DTypeName(info.dtype), ShapeString(info.shape), info.size_bytes);
  }
  return {};
}

std::string ShardName(std::size_t index, std::size_t count) {
  if (count == 1) return "model.safetensors";
  return fmt::format("model-{:05}-of-{:05}.safetensors", index + 1, count);
}

}  // namespace

Result<ShardLayout> PlanShards(std::vector<io::TensorInfo> tensors, std::size_t shard_bytes) {
  ShardLayout layout;
  std::size_t filled_bytes = 0;  // of the last shard
  for (io::TensorInfo& info : tensors) {
    AWQ_TRY(CheckSize(info));
    const auto total = CheckedAdd(layout.tensor_bytes, info.size_bytes);
    if (!total || *total > SIZE_MAX / 2) {
      return MakeError(ErrorCode::kInvalidArgument, "tensor {}: the model would be too large",
                       info.name);
    }
    layout.tensor_bytes = *total;
    const bool is_full = filled_bytes > 0 && filled_bytes + info.size_bytes > shard_bytes;
    if (layout.shards.empty() || is_full) {
      layout.shards.emplace_back();
      filled_bytes = 0;
    }
    Shard& shard = layout.shards.back();
    const ShardLayout::Place place{layout.shards.size() - 1, shard.tensors.size()};
    if (!layout.places.emplace(info.name, place).second) {
      return MakeError(ErrorCode::kInvalidArgument, "tensor {} is declared twice", info.name);
    }
    filled_bytes += info.size_bytes;
    shard.tensors.push_back(std::move(info));
  }
  if (layout.shards.empty()) {
    return MakeError(ErrorCode::kInvalidArgument, "there are no tensors to write");
  }
  for (std::size_t i = 0; i < layout.shards.size(); ++i) {
    Shard& shard = layout.shards[i];
    shard.file_name = ShardName(i, layout.shards.size());
    // transformers refuses files that do not say which framework's conventions they follow.
    shard.header = io::BuildSafetensorsHeader(shard.tensors, {{"format", "pt"}});
    const io::TensorInfo& last = shard.tensors.back();
    shard.file_bytes = last.offset_bytes + last.size_bytes;
  }
  return layout;
}

std::string ShardLayout::IndexText() const {
  nlohmann::json index;
  index["metadata"]["total_size"] = tensor_bytes;
  for (const auto& [name, place] : places) {
    index["weight_map"][name] = shards[place.shard].file_name;
  }
  return index.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

std::string ShardLayout::Digest() const {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const Shard& shard : shards) {
    for (const char byte : shard.header) {
      hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3;
    }
  }
  return fmt::format("{:016x}", hash);
}

}  // namespace awq::checkpoint
