#include "transformer/gpu/batch.h"

#include <algorithm>
#include <cstring>

namespace awq::transformer::gpu {

namespace {

constexpr std::size_t kTableStep = 8;  // pages

}  // namespace

// Each array begins at a multiple of 16 bytes.
std::size_t PlacedBatch::Append(const void* values, std::size_t count) {
  const std::size_t at = host_.size();
  host_.resize(RoundUp(at + count, 4));
  if (count > 0) std::memcpy(host_.data() + at, values, count * sizeof(std::int32_t));
  return at;
}

void PlacedBatch::Place(Context& context, const Batch& batch, const KvCache& cache,
                        std::size_t shared) {
  std::vector<std::int32_t> positions, slots, rows;
  std::vector<cuda::Tile> tiles;
  std::size_t table_pages = 0;
  for (const Segment& segment : batch) {
    table_pages = std::max(table_pages, cache.table(segment.slot).size());
  }
  table_pages = RoundUp(table_pages, kTableStep);
  std::vector<PageId> tables(batch.size() * table_pages, 0);
  for (std::size_t i = 0; i < batch.size(); ++i) {
    const Segment& segment = batch[i];
    const auto slot = static_cast<std::int32_t>(i);
    const auto first = static_cast<std::int32_t>(segment.position);
    const auto row = static_cast<std::int32_t>(positions.size());
    const auto count = static_cast<std::int32_t>(segment.tokens);
    for (std::int32_t t = 0; t < count; ++t) {
      positions.push_back(first + t);
      slots.push_back(slot);
    }
    std::ranges::copy(cache.table(segment.slot),
                      tables.begin() + static_cast<std::ptrdiff_t>(i * table_pages));
    if (count == 1) {
      rows.push_back(row);
    } else {
      const auto own = cuda::TilesOf({count, first, slot}, row, static_cast<int>(shared));
      tiles.insert(tiles.end(), own.begin(), own.end());
    }
  }
  tokens_ = positions.size();
  decoded_ = static_cast<int>(rows.size());
  tile_count_ = static_cast<int>(tiles.size());
  table_pages_ = static_cast<int>(table_pages);
  static_assert(sizeof(cuda::Tile) == 4 * sizeof(std::int32_t));
  host_.clear();
  positions_ = Append(positions.data(), positions.size());
  slots_ = Append(slots.data(), slots.size());
  rows_ = Append(rows.data(), rows.size());
  tiles_ = Append(tiles.data(), 4 * tiles.size());
  tables_ = Append(tables.data(), tables.size());
  auto* const device = memory_.Take<std::int32_t>(context, host_.size());
  device_ = device;
  context.lane().Upload(host_.data(), host_.size() * sizeof(std::int32_t), device);
}

}  // namespace awq::transformer::gpu
