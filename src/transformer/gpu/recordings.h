// Steps that were launched before and look the same now: recorded as graphs, so that one launch
// runs them.
#pragma once

#include <compare>
#include <cstddef>
#include <functional>
#include <map>

#include "transformer/gpu/context.h"

namespace awq::transformer::gpu {

// What the launches of a decode step depend on, beside what lies in memory that does not move.
struct StepShape {
  std::size_t tokens = 0;
  int table_pages = 0;
  const void* pages = nullptr;
  const void* scales = nullptr;
  bool has_seen = false;
  bool has_banned = false;
  friend auto operator<=>(const StepShape&, const StepShape&) = default;
};

class Recordings {
 public:
  // Does launch(), the first time; records it the second time, and from then on runs what was
  // recorded. All that it needs on the device must be in its place before, but for scratch memory,
  // which the first time may make.
  void Run(Context& context, const StepShape& shape, const std::function<void()>& launch);
  std::size_t replays() const { return replays_; }

 private:
  static constexpr std::size_t kMost = 16;
  struct Entry {
    std::size_t moves = 0;  // of scratch memory, when it was launched or recorded
    cuda::Graph graph;
  };

  std::map<StepShape, Entry> entries_;
  std::size_t replays_ = 0;
};

}  // namespace awq::transformer::gpu
