// Every lane is a row by itself, in true float32 without contraction, so that the vector width
// cannot show in a result.
#include <cstddef>
#include <cstdint>

#include "search/feedback_loops.h"

namespace awq::search::AWQ_ISA {
namespace {

#if defined(__AVX512F__)
constexpr std::size_t kVectorBytes = 64;
#elif defined(__AVX__)
constexpr std::size_t kVectorBytes = 32;
#else
constexpr std::size_t kVectorBytes = 16;
#endif
constexpr std::size_t kLanes = kVectorBytes / sizeof(float);
static_assert(kFeedbackLanes % kLanes == 0);

typedef float Floats __attribute__((vector_size(kVectorBytes)));

inline Floats Load(const float* from) {
  Floats values;
  __builtin_memcpy(&values, from, sizeof(values));
  return values;
}
inline void Store(const Floats& values, float* to) {
  __builtin_memcpy(to, &values, sizeof(values));
}

// The arithmetic of quant/group_isa.cc: to even while |x| < 2^22; beyond, the clamp decides.
inline Floats CodeOf(Floats weight, Floats step, Floats zero, float max_code) {
  constexpr float kRoundToInteger = 0x1.8p23F;
  const Floats code = (weight / step + kRoundToInteger) - kRoundToInteger + zero;
  const Floats most = max_code - Floats{};
  const Floats low = code > 0 ? code : Floats{};
  return low < most ? low : most;
}

constexpr std::size_t kTogether = 8;  // channels whose errors are carried on at once

// What channels [first, first + count) leave to those before them.
template <std::size_t kCount>
void CarryOn(const FeedbackBlock& block, std::size_t lane, std::size_t first) {
  Floats errors[kCount];
  for (std::size_t k = 0; k < kCount; ++k) {
    errors[k] = Load(block.errors + (first + k) * block.stride + lane);
  }
  const float* lower = block.lower + first * block.lower_stride;
  for (std::size_t i = 0; i < first; ++i) {
    float* to = block.feedback + i * block.stride + lane;
    Floats sum = Load(to);
    for (std::size_t k = kCount; k-- > 0;) sum += errors[k] * lower[k * block.lower_stride + i];
    Store(sum, to);
  }
}

// As many rows as a vector holds, from `lane` on.
void RoundLanes(const FeedbackBlock& block, std::size_t lane) {
  Floats losses{};
  for (std::size_t end = block.width; end > 0;) {
    const std::size_t begin = (end - 1) / kTogether * kTogether;
    for (std::size_t k = end; k-- > begin;) {
      const float* lower = block.lower + k * block.lower_stride;
      const float pivot = lower[k];
      const float s = block.scale[k];
      const std::size_t map = block.group[k] * kFeedbackLanes + lane;
      const Floats weight = Load(block.weights + k * block.stride + lane);
      const Floats step = Load(block.steps + map);
      const Floats zero = Load(block.zeros + map);
      const Floats target = weight + Load(block.feedback + k * block.stride + lane) / pivot;
      const Floats code = CodeOf(target * s, step, zero, block.max_code);
      const Floats rounded = (code - zero) * step / s;
      const Floats error = weight - rounded;
      Store(error, block.errors + k * block.stride + lane);
      for (std::size_t r = 0; r < kLanes; ++r) {
        block.codes[k * kFeedbackLanes + lane + r] = static_cast<std::uint8_t>(code[r]);
      }
      // The damped loss is the sum of these squares: e L = L_kk (target - rounded) in column k.
      const Floats part = (target - rounded) * pivot;
      losses += part * part - block.added[k] * error * error;
      for (std::size_t i = begin; i < k; ++i) {
        float* to = block.feedback + i * block.stride + lane;
        Store(Load(to) + error * lower[i], to);
      }
    }
    if (end - begin == kTogether) {
      CarryOn<kTogether>(block, lane, begin);
    } else {
      for (std::size_t k = end; k-- > begin;) CarryOn<1>(block, lane, k);
    }
    end = begin;
  }
  for (std::size_t r = 0; r < kLanes; ++r) {
    block.losses[lane + r] += static_cast<double>(losses[r]);
  }
}

void Round(const FeedbackBlock& block) {
  for (std::size_t lane = 0; lane < kFeedbackLanes; lane += kLanes) RoundLanes(block, lane);
}

}  // namespace

extern const FeedbackLoops kFeedbackLoops;
const FeedbackLoops kFeedbackLoops = {Round};

}  // namespace awq::search::AWQ_ISA
