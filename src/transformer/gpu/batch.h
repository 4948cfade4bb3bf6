// A batch as the GPU's attention wants it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cuda/ops.h"
#include "transformer/batch.h"
#include "transformer/gpu/context.h"
#include "transformer/kv_cache.h"

namespace awq::transformer::gpu {

// The arrays lie in one piece of memory on the device. Slots are those of the batch's segments.
class PlacedBatch {
 public:
  // `shared`: query heads of a key head. The cache has pages for all tokens.
  void Place(Context& context, const Batch& batch, const KvCache& cache, std::size_t shared);

  std::size_t tokens() const { return tokens_; }
  bool is_decoded() const { return tile_count_ == 0; }
  cuda::Sequence at() const { return {device_ + positions_, device_ + slots_}; }
  // Single tokens, and the rows that they are.
  int decoded() const { return decoded_; }
  const std::int32_t* decoded_rows() const { return device_ + rows_; }
  // Of a table's pages: so that a step looks like those before it for a while.
  int most_keys() const { return table_pages_ * cuda::kPageTokens; }
  // The others, in tiles.
  int tile_count() const { return tile_count_; }
  const cuda::Tile* tiles() const { return reinterpret_cast<const cuda::Tile*>(device_ + tiles_); }
  const std::uint32_t* tables() const {
    return reinterpret_cast<const std::uint32_t*>(device_ + tables_);
  }
  int table_pages() const { return table_pages_; }

 private:
  std::size_t Append(const void* values, std::size_t count);

  std::vector<std::int32_t> host_;
  Scratch memory_;
  const std::int32_t* device_ = nullptr;
  std::size_t tokens_ = 0;
  std::size_t positions_ = 0, slots_ = 0, rows_ = 0, tiles_ = 0, tables_ = 0;  // places in it
  int decoded_ = 0;
  int tile_count_ = 0;
  int table_pages_ = 0;
};

}  // namespace awq::transformer::gpu
