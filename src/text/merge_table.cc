#include "text/merge_table.h"

#include <algorithm>
#include <bit>

namespace awq::text {
namespace {

constexpr std::uint64_t kEmptyPair = ~std::uint64_t{0};  // ids are never negative
constexpr std::uint32_t kNone = ~std::uint32_t{0};
// Up to here looking at every pair beats a queue.
constexpr std::size_t kShortSymbols = 64;

std::uint64_t PairKey(std::int32_t left, std::int32_t right) {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 |
         static_cast<std::uint32_t>(right);
}

std::int32_t MergedId(RankedId merge) { return static_cast<std::int32_t>(merge & 0x7FFFFFFF); }

// std heaps keep the largest on top.
bool Later(const MergeScratch::Candidate& a, const MergeScratch::Candidate& b) {
  return a.order > b.order;
}

}  // namespace

void MergeTable::Reserve(std::size_t count, std::uint64_t seed) {
  const std::size_t size = std::bit_ceil(std::max<std::size_t>(2 * count, 2));
  slots_.assign(size, Slot{kEmptyPair, kNoMerge});
  shift_ = 64U - static_cast<unsigned>(std::countr_zero(size));
  seed_ = seed;
}

std::size_t MergeTable::Place(std::uint64_t pair) const {
  constexpr std::uint64_t kMultiplier = 0x9E3779B97F4A7C15ULL;
  std::uint64_t hash = (pair ^ seed_) * kMultiplier;
  hash = (hash ^ hash >> 32) * kMultiplier;
  std::size_t place = hash >> shift_;
  while (slots_[place].pair != pair && slots_[place].pair != kEmptyPair) {
    place = (place + 1) & (slots_.size() - 1);
  }
  return place;
}

void MergeTable::Set(std::int32_t left, std::int32_t right, std::uint32_t rank,
                     std::int32_t merged) {
  const std::uint64_t pair = PairKey(left, right);
  slots_[Place(pair)] = {pair, std::uint64_t{rank} << 32 | static_cast<std::uint32_t>(merged)};
}

RankedId MergeTable::Find(std::int32_t left, std::int32_t right) const {
  return slots_[Place(PairKey(left, right))].merge;
}

void MergeTable::Merge(std::vector<std::int32_t>& ids, MergeScratch& scratch) const {
  if (ids.size() < 2) return;
  if (ids.size() <= kShortSymbols) {
    MergeShort(ids, scratch);
  } else {
    MergeLong(ids, scratch);
  }
}

void MergeTable::MergeShort(std::vector<std::int32_t>& ids, MergeScratch& scratch) const {
  RankedId pairs[kShortSymbols];
  std::size_t count = ids.size();
  for (std::size_t i = 0; i + 1 < count; ++i) pairs[i] = Find(ids[i], ids[i + 1]);
  while (count > 1) {
    scratch.steps += count - 1;
    const std::size_t best =
        static_cast<std::size_t>(std::min_element(pairs, pairs + count - 1) - pairs);
    if (pairs[best] == kNoMerge) break;
    ids[best] = MergedId(pairs[best]);
    std::copy(ids.begin() + static_cast<std::ptrdiff_t>(best) + 2,
              ids.begin() + static_cast<std::ptrdiff_t>(count),
              ids.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    std::copy(pairs + best + 1, pairs + count - 1, pairs + best);
    --count;
    if (best > 0) pairs[best - 1] = Find(ids[best - 1], ids[best]);
    if (best + 1 < count) pairs[best] = Find(ids[best], ids[best + 1]);
  }
  ids.resize(count);
}

void MergeTable::Push(std::uint32_t position, MergeScratch& scratch) const {
  const auto& symbol = scratch.symbols[position];
  RankedId merge = kNoMerge;
  if (symbol.next != kNone) merge = Find(symbol.id, scratch.symbols[symbol.next].id);
  scratch.pairs[position] = merge;
  if (merge == kNoMerge) return;
  scratch.queue.push_back({(merge & ~std::uint64_t{0xFFFFFFFF}) | position, merge});
}

void MergeTable::Join(std::uint32_t position, MergeScratch& scratch) const {
  auto& symbols = scratch.symbols;
  auto& left = symbols[position];
  const std::uint32_t gone = left.next;
  left.id = MergedId(scratch.pairs[position]);
  left.next = symbols[gone].next;
  if (left.next != kNone) symbols[left.next].previous = position;
  symbols[gone].id = -1;
  scratch.pairs[gone] = kNoMerge;
  const auto push = [&](std::uint32_t at) {
    const std::size_t before = scratch.queue.size();
    Push(at, scratch);
    if (scratch.queue.size() > before) {
      std::push_heap(scratch.queue.begin(), scratch.queue.end(), &Later);
    }
  };
  push(position);
  if (left.previous != kNone) push(left.previous);
}

void MergeTable::MergeLong(std::vector<std::int32_t>& ids, MergeScratch& scratch) const {
  const auto count = static_cast<std::uint32_t>(ids.size());
  scratch.symbols.resize(count);
  scratch.pairs.resize(count);
  scratch.queue.clear();
  for (std::uint32_t i = 0; i < count; ++i) {
    scratch.symbols[i] = {ids[i], i == 0 ? kNone : i - 1, i + 1 == count ? kNone : i + 1};
  }
  for (std::uint32_t i = 0; i < count; ++i) Push(i, scratch);
  std::make_heap(scratch.queue.begin(), scratch.queue.end(), &Later);
  scratch.steps += count;
  while (!scratch.queue.empty()) {
    std::pop_heap(scratch.queue.begin(), scratch.queue.end(), &Later);
    const MergeScratch::Candidate top = scratch.queue.back();
    scratch.queue.pop_back();
    ++scratch.steps;
    const auto position = static_cast<std::uint32_t>(top.order);
    // One side has merged with something else since.
    if (scratch.pairs[position] != top.merge) continue;
    Join(position, scratch);
  }
  ids.clear();
  for (std::uint32_t i = 0; i < count; ++i) {
    if (scratch.symbols[i].id >= 0) ids.push_back(scratch.symbols[i].id);
  }
}

}  // namespace awq::text
