// Sampling without sorting: a block takes a row. Masses are integers, multiples of 2^-60, so that
// the order of additions does not matter; what is sought among probabilities in their order is
// found digit by digit of their bits, by histograms.
#pragma once

#include "cuda/launch.h"
#include "cuda/ops_shapes.h"
#include "cuda/sample.h"
#include "cuda/sample_random.cuh"
#include "cuda/simt.h"
#include "cuda/token_vector.cuh"

namespace awq::cuda {
inline namespace AWQ_CUDA_SIDE {

inline constexpr int kSampleThreads = 1024;
inline constexpr int kSampleTile = 4096;
inline constexpr int kSumLanes = 16;  // of the CPU's sums
inline constexpr int kBins = 2048;

using Mass = std::uint64_t;  // times 2^-60

// So many times 2^(exponent - 150), for a float's bits of an exponent.
__device__ __forceinline__ Mass MassOf(std::uint64_t mantissas, std::uint32_t exponent) {
  const int shift = static_cast<int>(max(exponent, 1U)) - 90;
  if (shift >= 0) return mantissas << shift;
  return shift > -64 ? mantissas >> -shift : 0;
}
__device__ __forceinline__ std::uint32_t MantissaOf(std::uint32_t bits) {
  return (bits & 0x7fffffU) | (bits >> 23 != 0 ? 0x800000U : 0U);
}
__device__ __forceinline__ Mass MassOf(float x) {
  const std::uint32_t bits = __float_as_uint(x);
  return MassOf(MantissaOf(bits), bits >> 23);
}

// By one digit of their bits: how many probabilities, and what their lower digits add up to.
struct Histogram {
  std::uint32_t count[kBins];
  std::uint32_t high[kBins];  // of bits 10 to 19
  std::uint32_t low[kBins];   // of bits 0 to 9
};

// A value among probabilities, most likely first, and what comes before it.
struct SamplePlace {
  std::uint32_t bits;    // of the value, as far as its digits are known
  std::uint32_t equals;  // so many have these
  Mass mass;
  std::uint64_t count;
};

struct SampleShared {
  float tiles[2][kSampleTile];
  Histogram first;  // of the first digit
  Histogram next;
  std::uint64_t warps[kWarp];
  SamplePlace place;
  float inverse_sum;
  int token;
};

class SampleRow {
 public:
  __device__ explicit SampleRow(const SampleTask& task)
      : task_(task),
        vocab_(task.vocab),
        slot_(RowOf(task.slots, blockIdx.x)),
        logits_(task.logits + std::int64_t{blockIdx.x} * task.vocab),
        shared_(*SharedArray<SampleShared>()) {}

  __device__ __forceinline__ void Run() {
    const SampleState state = task_.states[slot_];
    const std::uint64_t best = FindBest(state.repeat_penalty);
    const auto ordered = static_cast<std::uint32_t>(best >> 32);
    const float largest = __uint_as_float(ordered >> 31 != 0 ? ordered ^ 0x80000000U : ~ordered);
    int token = static_cast<int>(~static_cast<std::uint32_t>(best));
    SampleState after = state;
    if (!(largest - largest == 0)) {  // NaN, or infinite
      token = -1;
    } else {
      const float temperature =
          after.drawn++ < state.wide_tokens ? state.wide_temperature : state.temperature;
      constexpr float kColdest = 1e-6F;
      if (temperature > kColdest) {
        const std::uint64_t random = NextRandom(after.random);
        token = Draw(state, {largest, 1.0F / temperature}, random, token);
      }
    }
    if (ThreadInBlock() != 0) return;
    task_.tokens[blockIdx.x] = token;
    task_.states[slot_] = after;
    if (token >= 0 && task_.seen != nullptr) task_.seen[WordOf(token)] |= 1U << (token % 32);
  }

 private:
  struct Scale {
    float largest;  // of the logits
    float inverse_temperature;
  };

  __device__ __forceinline__ std::int64_t WordOf(int token) const {
    return slot_ * ((vocab_ + 31) / 32) + token / 32;
  }

  template <class Use>
  __device__ __forceinline__ void ForTokens(Use use) {
    for (int i = ThreadInBlock(); i < vocab_; i += kSampleThreads) use(i);
  }

  // Every thread gets it: op(a, b) over all threads' x.
  template <class Op>
  __device__ __forceinline__ std::uint64_t OverBlock(std::uint64_t x, Op op) {
    AWQ_UNROLL
    for (int step = kWarp / 2; step > 0; step /= 2) {
      x = op(x, __shfl_xor_sync(kAllLanes, x, step));
    }
    __syncthreads();
    if (LaneInWarp() == 0) shared_.warps[WarpInBlock()] = x;
    __syncthreads();
    x = shared_.warps[LaneInWarp()];
    AWQ_UNROLL
    for (int step = kWarp / 2; step > 0; step /= 2) {
      x = op(x, __shfl_xor_sync(kAllLanes, x, step));
    }
    return x;
  }
  __device__ __forceinline__ Mass SumOfBlock(Mass x) {
    return OverBlock(x, [](std::uint64_t a, std::uint64_t b) { return a + b; });
  }

  // Repeated tokens and banned ones, and then the largest logit: in the upper half its bits in an
  // order of whole numbers, of NaN the last of them; below, so that the first of equals wins,
  // ~token.
  __device__ __forceinline__ std::uint64_t FindBest(float penalty) {
    std::uint64_t best = 0;
    ForTokens([&](int i) {
      float x = logits_[i];
      const std::uint32_t bit = 1U << (i % 32);
      if (penalty != 1.0F && task_.seen != nullptr && (task_.seen[WordOf(i)] & bit) != 0) {
        x = x > 0 ? x / penalty : x * penalty;
        logits_[i] = x;
      }
      if (task_.banned != nullptr && (task_.banned[i / 32] & bit) != 0) {
        x = MinusInfinity();
        logits_[i] = x;
      }
      const std::uint32_t bits = __float_as_uint(x + 0.0F);  // -0 is 0
      std::uint32_t ordered = bits >> 31 != 0 ? ~bits : bits | 0x80000000U;
      if (x != x) ordered = 0xffffffffU;
      const std::uint64_t key = std::uint64_t{ordered} << 32 | ~static_cast<std::uint32_t>(i);
      best = max(best, key);
    });
    return OverBlock(best, [](std::uint64_t a, std::uint64_t b) { return a > b ? a : b; });
  }

  __device__ __forceinline__ int Draw(const SampleState& options, const Scale& scale,
                                      std::uint64_t random, int best) {
    const float inverse_sum = Weigh(scale);
    const bool cuts = options.top_k > 0 || options.top_p < 1 || options.min_p > 0;
    if (cuts) ClearHistogram(shared_.first);
    const float least = Times(options.min_p, inverse_sum);  // the best has exp(0) / sum
    Mass all = 0;
    Mass likely = 0;
    ForTokens([&](int i) {
      const float p = Times(logits_[i], inverse_sum);
      logits_[i] = p;
      if (!cuts) return;
      Count(__float_as_uint(p), 20, shared_.first);
      all += MassOf(p);
      if (p >= least) likely += MassOf(p);
    });
    __syncthreads();
    if (!cuts) {  // in the order of tokens
      return FindToken([&](int i) { return MassOf(logits_[i]); }, random << 7, best);
    }
    const Mass kept = Keep(options, {SumOfBlock(all), SumOfBlock(likely), MassOf(inverse_sum)});
    const double share = static_cast<double>(random) * 0x1p-53;
    const auto left = static_cast<Mass>(share * static_cast<double>(kept));
    const SamplePlace place = Find(false, left);
    const std::uint64_t skipped = EqualsBefore(place, left);
    return FindToken(
        [&](int i) { return std::uint64_t{__float_as_uint(logits_[i]) == place.bits ? 1U : 0U}; },
        skipped, best);
  }

  // Logits become exp((logit - largest) / temperature); returns 1 / their sum, in the CPU's order.
  __device__ __forceinline__ float Weigh(const Scale& scale) {
    float sum = 0;
    int tile = 0;
    for (int first = 0; first < vocab_; first += kSampleTile) {
      for (int i = ThreadInBlock(); i < kSampleTile; i += kSampleThreads) {
        float weight = 0;
        if (first + i < vocab_) {
          float& logit = logits_[first + i];
          weight = ExactExp(Times(scale.inverse_temperature, Plus(logit, -scale.largest)));
          logit = weight;
        }
        shared_.tiles[tile][i] = weight;
      }
      __syncthreads();
      if (ThreadInBlock() < kSumLanes) {
        const float* const weights = shared_.tiles[tile] + ThreadInBlock();
        for (int i = 0; i < kSampleTile; i += kSumLanes) sum = Plus(sum, weights[i]);
      }
      tile = 1 - tile;
    }
    if (WarpInBlock() == 0) {
      AWQ_UNROLL
      for (int step = kSumLanes / 2; step > 0; step /= 2) {
        sum = Plus(sum, __shfl_down_sync(kAllLanes, sum, static_cast<unsigned>(step)));
      }
      if (LaneInWarp() == 0) shared_.inverse_sum = 1.0F / sum;
    }
    __syncthreads();
    return shared_.inverse_sum;
  }

  struct Masses {
    Mass all;
    Mass likely;  // of those that min_p leaves
    Mass best;
  };
  // The mass of what top_k, top_p and min_p leave: each leaves the most likely ones.
  __device__ __forceinline__ Mass Keep(const SampleState& options, const Masses& masses) {
    Mass kept = masses.all;
    if (options.top_k > 0 && options.top_k < vocab_) {
      const SamplePlace place = Find(true, static_cast<std::uint64_t>(options.top_k) - 1);
      kept = place.mass + place.equals * MassOf(__uint_as_float(place.bits));
    }
    if (options.top_p < 1) {
      const double wanted = static_cast<double>(options.top_p) * static_cast<double>(kept);
      const Mass below = wanted < 1 ? 0 : static_cast<Mass>(ceil(wanted)) - 1;
      const SamplePlace place = Find(false, below);
      const Mass each = MassOf(__uint_as_float(place.bits));
      kept = min(kept, place.mass + (EqualsBefore(place, below) + 1) * each);
    }
    if (options.min_p > 0) kept = min(kept, masses.likely);
    return max(kept, masses.best);
  }

  // Of a place's equals, those that come before the one where the mass passes `target`.
  __device__ __forceinline__ std::uint64_t EqualsBefore(const SamplePlace& place, Mass target) {
    const Mass each = MassOf(__uint_as_float(place.bits));
    if (each == 0 || target < place.mass) return 0;
    return min((target - place.mass) / each, std::uint64_t{place.equals} - 1);
  }

  __device__ __forceinline__ void ClearHistogram(Histogram& histogram) {
    for (int i = ThreadInBlock(); i < kBins; i += kSampleThreads) {
      histogram.count[i] = histogram.high[i] = histogram.low[i] = 0;
    }
    __syncthreads();
  }

  // shift: of the digit, whose higher ones are dropped.
  __device__ __forceinline__ void Count(std::uint32_t bits, int shift, Histogram& histogram) {
    const std::uint32_t digit = bits >> shift & (shift == 20 ? 2047U : 1023U);
    const std::uint32_t rest = bits & ((1U << shift) - 1);
    atomicAdd(&histogram.count[digit], 1U);
    if (shift == 20) atomicAdd(&histogram.high[digit], rest >> 10);
    if (shift >= 10) atomicAdd(&histogram.low[digit], rest & 1023U);
  }

  // The first value, most likely first, up to and with which more than `target` are counted, or
  // their mass is more; the last one where none is.
  __device__ __forceinline__ SamplePlace Find(bool by_count, std::uint64_t target) {
    if (ThreadInBlock() == 0) shared_.place = {0, 0, 0, 0};
    __syncthreads();
    FindDigit(shared_.first, 20, by_count, target);
    for (int shift = 10; shift >= 0; shift -= 10) {
      ClearHistogram(shared_.next);
      const std::uint32_t known = shared_.place.bits >> (shift + 10);
      ForTokens([&](int i) {
        const std::uint32_t bits = __float_as_uint(logits_[i]);
        if (bits >> (shift + 10) == known) Count(bits, shift, shared_.next);
      });
      __syncthreads();
      FindDigit(shared_.next, shift, by_count, target);
    }
    const SamplePlace place = shared_.place;
    __syncthreads();
    return place;
  }

  // The mass of a bin whose bits are these.
  __device__ __forceinline__ Mass BinMass(const Histogram& histogram, int digit,
                                          std::uint32_t bits) {
    return MassOf(std::uint64_t{histogram.count[digit]} * MantissaOf(bits) +
                      (std::uint64_t{histogram.high[digit]} << 10) + histogram.low[digit],
                  bits >> 23);
  }

  // The place's next digit: a warp's lanes take 64 bins each, the largest first.
  __device__ __forceinline__ void FindDigit(const Histogram& histogram, int shift, bool by_count,
                                            std::uint64_t target) {
    if (WarpInBlock() == 0) {
      constexpr int kOfLane = kBins / kWarp;
      const SamplePlace place = shared_.place;
      const int top = kBins - 1 - LaneInWarp() * kOfLane;
      const auto bits = [&](int digit) {
        return place.bits | static_cast<std::uint32_t>(digit) << shift;
      };
      Mass mass = 0;
      std::uint64_t count = 0;
      for (int digit = top; digit > top - kOfLane; --digit) {
        if (histogram.count[digit] == 0) continue;
        mass += BinMass(histogram, digit, bits(digit));
        count += histogram.count[digit];
      }
      const bool is_empty = count == 0;
      Mass mass_before = place.mass + SumOfLanesBefore(mass);
      std::uint64_t count_before = place.count + SumOfLanesBefore(count);
      const bool passes = (by_count ? count_before + count : mass_before + mass) > target;
      const unsigned passing = __ballot_sync(kAllLanes, passes && !is_empty);
      const unsigned some = __ballot_sync(kAllLanes, !is_empty);
      const int lane =
          passing != 0 ? __ffs(static_cast<int>(passing)) - 1 : 31 - __clz(static_cast<int>(some));
      if (LaneInWarp() == lane) {
        for (int digit = top; digit > top - kOfLane; --digit) {
          if (histogram.count[digit] == 0) continue;
          mass = BinMass(histogram, digit, bits(digit));
          shared_.place = {bits(digit), histogram.count[digit], mass_before, count_before};
          if ((by_count ? count_before + histogram.count[digit] : mass_before + mass) > target) {
            break;
          }
          mass_before += mass;
          count_before += histogram.count[digit];
        }
      }
    }
    __syncthreads();
  }

  __device__ __forceinline__ std::uint64_t SumOfLanesBefore(std::uint64_t x) {
    std::uint64_t sum = x;
    AWQ_UNROLL
    for (unsigned step = 1; step < kWarp; step *= 2) {
      const std::uint64_t before = __shfl_up_sync(kAllLanes, sum, step);
      if (LaneInWarp() >= static_cast<int>(step)) sum += before;
    }
    return sum - x;
  }

  // The first token up to and with which measure(token) adds up to more than `target`, or `last`.
  template <class Measure>
  __device__ __forceinline__ int FindToken(Measure measure, std::uint64_t target, int last) {
    // A warp takes consecutive ones.
    const int of_warp = (vocab_ + kSampleThreads - 1) / kSampleThreads * kWarp;
    const int first = WarpInBlock() * of_warp;
    const auto at = [&](int base) {
      const int i = base + LaneInWarp();
      return i < vocab_ ? measure(i) : 0;
    };
    std::uint64_t sum = 0;
    for (int base = first; base < first + of_warp; base += kWarp) sum += at(base);
    AWQ_UNROLL
    for (int step = kWarp / 2; step > 0; step /= 2) sum += __shfl_xor_sync(kAllLanes, sum, step);
    __syncthreads();
    if (LaneInWarp() == 0) shared_.warps[WarpInBlock()] = sum;
    if (ThreadInBlock() == 0) shared_.token = last;
    __syncthreads();
    std::uint64_t before = 0;
    for (int warp = 0; warp < WarpInBlock(); ++warp) before += shared_.warps[warp];
    if (before <= target && target < before + sum) {
      for (int base = first; base < first + of_warp; base += kWarp) {
        const std::uint64_t mine = at(base);
        const std::uint64_t upto = before + SumOfLanesBefore(mine) + mine;
        const unsigned passing = __ballot_sync(kAllLanes, upto > target);
        if (passing != 0) {
          if (LaneInWarp() == 0) shared_.token = base + __ffs(static_cast<int>(passing)) - 1;
          break;
        }
        before = __shfl_sync(kAllLanes, upto, kWarp - 1);
      }
    }
    __syncthreads();
    return shared_.token;
  }

  const SampleTask& task_;
  int vocab_;
  std::int64_t slot_;
  float* logits_;
  SampleShared& shared_;
};

__global__ void __launch_bounds__(kSampleThreads) SampleKernel(const SampleTask task) {
  SampleRow(task).Run();
}

template <class Launcher>
Fault LaunchSample(const Launcher& launcher, const SampleTask& task) {
  if (task.vocab <= 0 || task.vocab > 1 << 22) {
    return Unsupported("sampling from " + std::to_string(task.vocab) + " tokens");
  }
  if (task.rows == 0) return {};
  LaunchShape shape;
  shape.blocks.x = static_cast<unsigned>(task.rows);
  shape.threads = kSampleThreads;
  shape.shared_bytes = sizeof(SampleShared);
  return launcher(SampleKernel, shape, task);
}

}  // namespace AWQ_CUDA_SIDE
}  // namespace awq::cuda
