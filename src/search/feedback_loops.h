// The loop behind gptq.h. Plain types only: feedback_isa.cc is compiled once per instruction set.
// All sets give the same bits.
#pragma once

#include <cstddef>
#include <cstdint>

namespace awq::search {

// Rows that are rounded side by side: a vector holds one channel of them.
inline constexpr std::size_t kFeedbackLanes = 16;

// Consecutive channels, in rounding order from last to first, of kFeedbackLanes rows. Arrays
// [channel][lane] are `stride` apart from channel to channel.
struct FeedbackBlock {
  std::size_t width = 0;  // channels
  std::size_t stride = 0;
  const float* lower = nullptr;  // [width, width], the diagonal block of L
  std::size_t lower_stride = 0;
  const float* added = nullptr;          // [width]
  const float* scale = nullptr;          // [width]
  const std::uint32_t* group = nullptr;  // [width], which step and zero
  const float* steps = nullptr;          // [groups][lane]
  const float* zeros = nullptr;          // [groups][lane]
  float max_code = 0;
  const float* weights = nullptr;  // [width][lane]
  float* feedback = nullptr;       // [width][lane], of the channels after the block; spoiled
  float* errors = nullptr;         // [width][lane], w - w'
  std::uint8_t* codes = nullptr;   // [width][lane], packed: kFeedbackLanes apart
  double* losses = nullptr;        // [lane], added to
};

struct FeedbackLoops {
  void (*round)(const FeedbackBlock& block);
};

namespace baseline {
extern const FeedbackLoops kFeedbackLoops;
}
namespace avx2 {
extern const FeedbackLoops kFeedbackLoops;
}
namespace avx512 {
extern const FeedbackLoops kFeedbackLoops;
}

}  // namespace awq::search
