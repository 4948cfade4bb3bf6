// Which tokens go through the network together.
#pragma once

#include <cstddef>
#include <vector>

namespace awq::transformer {

// Consecutive tokens of one sequence.
struct Segment {
  std::size_t tokens = 0;
  std::size_t position = 0;  // of the first token
  std::size_t slot = 0;      // of the KV cache
};

// The rows of the hidden states are the segments' tokens, one segment after another.
using Batch = std::vector<Segment>;

inline std::size_t TokensOf(const Batch& batch) {
  std::size_t tokens = 0;
  for (const Segment& segment : batch) tokens += segment.tokens;
  return tokens;
}

}  // namespace awq::transformer
