// The merges of a BPE model, and how a row of symbols is merged by them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace awq::text {

// A pair's merge: lower first. The upper half is the rank, the lower the id that the pair becomes.
using RankedId = std::uint64_t;
inline constexpr RankedId kNoMerge = ~RankedId{0};

struct MergeScratch {
  struct Symbol {
    std::int32_t id;
    std::uint32_t previous;
    std::uint32_t next;
  };
  struct Candidate {
    std::uint64_t order;  // rank, then position
    RankedId merge;
  };
  std::vector<Symbol> symbols;
  std::vector<RankedId> pairs;  // of each symbol with its right neighbour
  std::vector<Candidate> queue;
  // Pairs looked at and queue operations so far: what a bound on time is tested by.
  std::uint64_t steps = 0;
};

class MergeTable {
 public:
  // Makes room for `count` merges. `seed` spreads the pairs; files cannot know it.
  void Reserve(std::size_t count, std::uint64_t seed);
  // A later merge of the same pair replaces the earlier.
  void Set(std::int32_t left, std::int32_t right, std::uint32_t rank, std::int32_t merged);
  RankedId Find(std::int32_t left, std::int32_t right) const;

  // Merges `ids` in place: always the pair of the lowest rank, of equal ranks the leftmost. Time
  // n log n. Precondition: fewer than 2^32 symbols.
  void Merge(std::vector<std::int32_t>& ids, MergeScratch& scratch) const;

 private:
  struct Slot {
    std::uint64_t pair;
    RankedId merge;
  };
  std::size_t Place(std::uint64_t pair) const;
  void MergeShort(std::vector<std::int32_t>& ids, MergeScratch& scratch) const;
  void MergeLong(std::vector<std::int32_t>& ids, MergeScratch& scratch) const;
  void Join(std::uint32_t position, MergeScratch& scratch) const;
  void Push(std::uint32_t position, MergeScratch& scratch) const;

  std::vector<Slot> slots_;
  std::uint64_t seed_ = 0;
  unsigned shift_ = 63;
};

}  // namespace awq::text
