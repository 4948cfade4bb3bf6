// A linear of 1 to 8 tokens: as fast as the weights come.
//
// By Little's law 4.3 TB/s at 0.7 us of latency want 3 MB on their way at any time, 23 KB for each
// of 132 multiprocessors. A warp has a unit of 2 KB (4 bits) on its way: each vector of the next
// unit is asked for when the present one's place is free; 16 warps of a multiprocessor keep
// 32 KB. Beside that the kernel is bound by its instructions: about 300 for a unit, where 4.3 TB/s
// leave 430 issue slots.
//
// All units of all panels are one line that is cut into equal parts, one a block, wherever the cuts
// fall (stream-K). A block's warps take its units in turn and put their sums together where a panel
// ends; where a cut goes through a panel, the last of its blocks to arrive adds what all of them
// left in the workspace, in their order: the same bits in every run.
#pragma once

#include "cuda/dequantize.cuh"
#include "cuda/linear_arguments.h"

namespace awq::cuda {
inline namespace AWQ_CUDA_SIDE {

inline constexpr int kStreamTokens = 8;
inline constexpr int kStreamWarps = 8;
inline constexpr int kStreamThreads = 32 * kStreamWarps;
inline constexpr int kStreamSums = kPanelRows * kStreamTokens;  // of a panel
inline constexpr int kStreamSumsOfLane = kStreamSums / 32;
inline constexpr std::size_t kStreamSharedBytes = kStreamWarps * kStreamSums * sizeof(float) + 16;

// Blocks that run at the same time on a multiprocessor: what registers allow.
inline constexpr int kStreamBlocksEach = 2;

// Cuts the line into equal parts.
struct LineCut {
  int length, parts;

  __device__ __forceinline__ int Begin(int part) const {
    return static_cast<int>(static_cast<long long>(length) * part / parts);
  }
  __device__ __forceinline__ int PartOf(int place) const {
    return static_cast<int>((static_cast<long long>(place + 1) * parts - 1) / length);
  }
};

// What a lane reads for a unit beside the codes. Scales may change once inside a unit.
template <int kGroupsOfUnit>
struct UnitInputs {
  std::uint32_t x[8];  // two runs of 8 inputs of one token
  RowScales rows[static_cast<std::size_t>(kGroupsOfUnit)];
};

// Walks over the units of one warp.
template <int kBits, int kGroupsOfUnit>
class UnitCursor {
 public:
  // `at`: of the whole line.
  __device__ __forceinline__ UnitCursor(const LinearArguments& args, int at)
      : panel_(at / args.units), unit_(at % args.units) {
    const int lane = LaneInWarp();
    codes_ = args.codes + static_cast<std::size_t>(at) * (kBits * 32) + lane;
    // Tokens that do not exist are columns of their own, which nobody writes: any will do.
    const int token = min(lane / 4, args.tokens - 1);
    x_ = static_cast<const std::uint16_t*>(args.x) +
         static_cast<std::size_t>(token) * static_cast<std::size_t>(args.inputs) + lane % 4 * 8;
  }

  __device__ __forceinline__ void Advance(const LinearArguments& args) {
    codes_ += kStreamWarps * kBits * 32;
    unit_ += kStreamWarps;
    while (unit_ >= args.units) {
      unit_ -= args.units;
      ++panel_;
    }
  }

  __device__ __forceinline__ void LoadVector(UnitCodes<kBits>& codes, int vector) const {
    const uint4 read = LoadOnce(codes_ + 32 * vector);
    codes.words[4 * vector] = read.x;
    codes.words[4 * vector + 1] = read.y;
    codes.words[4 * vector + 2] = read.z;
    codes.words[4 * vector + 3] = read.w;
  }

  __device__ __forceinline__ void LoadInputs(UnitInputs<kGroupsOfUnit>& inputs,
                                             const LinearArguments& args) const {
    const std::uint16_t* x = x_ + unit_ * kUnitInputs;
    const bool is_whole = unit_ * kUnitInputs + 32 < args.inputs;
    const uint4 first = __ldg(reinterpret_cast<const uint4*>(x));
    uint4 second = make_uint4(0, 0, 0, 0);
    if (is_whole) {
      second = __ldg(reinterpret_cast<const uint4*>(x + 32));
    }
    const std::uint32_t words[8] = {first.x,  first.y,  first.z,  first.w,
                                    second.x, second.y, second.z, second.w};
    AWQ_UNROLL
    for (int i = 0; i < 8; ++i) {
      inputs.x[i] = words[i];
    }
    AWQ_UNROLL
    for (int i = 0; i < kGroupsOfUnit; ++i) {
      // Of the second half of a unit that has none, which does not matter: its inputs are zeros.
      const int group = min(args.GroupOf(2 * unit_ + i), args.groups - 1);
      const int at = (panel_ * args.groups + group) * 8 + LaneInWarp() / 4;
      inputs.rows[i] = {__ldg(args.scales + at), __ldg(args.zeros + at)};
    }
  }

 private:
  int panel_, unit_;
  const uint4* codes_;
  const std::uint16_t* x_;
};

// sums[element of C] += block b's 16 rows times the unit's inputs.
template <class T, int kBits, int kGroupsOfUnit>
__device__ __forceinline__ void MultiplyBlock(float (&sums)[4], const UnitCodes<kBits>& codes,
                                              const UnitInputs<kGroupsOfUnit>& inputs, int b) {
  constexpr int kProducts = 4 / kGroupsOfUnit;
  AWQ_UNROLL
  for (int i = 0; i < kGroupsOfUnit; ++i) {
    const std::uint32_t minus_zero[2] = {MinusZeroOf<T, kBits>(inputs.rows[i], b, 0),
                                         MinusZeroOf<T, kBits>(inputs.rows[i], b, 1)};
    float c[4] = {};
    AWQ_UNROLL
    for (int j = i * kProducts; j < (i + 1) * kProducts; ++j) {
      std::uint32_t a[4];
      AWQ_UNROLL
      for (int r = 0; r < 4; ++r) {
        a[r] = Dequantize<T, kBits>(codes, b, j, r, minus_zero[r % 2]);
      }
      const std::uint32_t x[2] = {inputs.x[2 * j], inputs.x[2 * j + 1]};
      MultiplyAdd<T>(c, a, x);
    }
    AWQ_UNROLL
    for (int e = 0; e < 4; ++e) {
      sums[e] += ScaleOf(inputs.rows[i], b, e / 2) * c[e];
    }
  }
}

// A panel's sums as threads of a block hold them: sum s of thread t is element t + s * threads of
// [block of 16 rows][element of C][lane].
inline constexpr int kStreamSumsOfThread = kStreamSums / kStreamThreads;

template <class T>
__device__ __forceinline__ void WritePanel(const LinearArguments& args, int panel,
                                           const float (&sums)[kStreamSumsOfThread]) {
  AWQ_UNROLL
  for (int s = 0; s < kStreamSumsOfThread; ++s) {
    const int at = ThreadInBlock() + s * kStreamThreads;
    const int lane = at % 32, element = at / 32 % 4, block = at / 128;
    WriteOutput<T>(args, lane % 4 * 2 + element % 2,
                   panel * kPanelRows + block * 16 + lane / 4 + element / 2 * 8, sums[s]);
  }
}

// Leaves this block's part of a panel that was cut in the workspace; the last block to do so writes
// the panel. A part of the line has at most two such panels: one that others began (slot 0), and
// one that others end (slot 1, if it did not begin with that one).
template <class T>
__device__ __forceinline__ void WriteCutPanel(const LinearArguments& args, const Workspace& work,
                                              const LineCut& cut, int panel, int* shared_flag,
                                              float (&sums)[kStreamSumsOfThread]) {
  const int begin = panel * args.units, end = begin + args.units;
  const int first = cut.PartOf(begin), last = cut.PartOf(end - 1);
  const int slot_of_first = cut.Begin(first) < begin ? 1 : 0;
  const auto slot = [&](int part) {
    return work.sums + (2 * part + (part == first ? slot_of_first : 0)) * kStreamSums;
  };
  float* mine = slot(static_cast<int>(blockIdx.x));
  AWQ_UNROLL
  for (int s = 0; s < kStreamSumsOfThread; ++s) {
    mine[ThreadInBlock() + s * kStreamThreads] = sums[s];
  }
  __threadfence();
  __syncthreads();
  if (ThreadInBlock() == 0) {
    *shared_flag = atomicAdd(work.arrivals + panel, 1) == last - first ? 1 : 0;
  }
  __syncthreads();
  if (*shared_flag == 0) {
    return;
  }
  __threadfence();
  AWQ_UNROLL
  for (int s = 0; s < kStreamSumsOfThread; ++s) {
    sums[s] = 0.0f;
    for (int part = first; part <= last; ++part) {
      sums[s] += __ldcg(slot(part) + ThreadInBlock() + s * kStreamThreads);
    }
  }
  WritePanel<T>(args, panel, sums);
  if (ThreadInBlock() == 0) {
    work.arrivals[panel] = 0;
  }
}

// The warps' sums together, in the order of the warps.
__device__ __forceinline__ void AddWarps(float (&sums)[kStreamSumsOfThread],
                                         const float (&of_lane)[4][4], float* shared) {
  __syncthreads();  // all have read the last panel's
  float* mine = shared + WarpInBlock() * kStreamSums + LaneInWarp();
  AWQ_UNROLL
  for (int i = 0; i < kStreamSumsOfLane; ++i) {
    mine[32 * i] = of_lane[i / 4][i % 4];
  }
  __syncthreads();
  AWQ_UNROLL
  for (int s = 0; s < kStreamSumsOfThread; ++s) {
    sums[s] = 0.0f;
    AWQ_UNROLL
    for (int w = 0; w < kStreamWarps; ++w) {
      sums[s] += shared[w * kStreamSums + ThreadInBlock() + s * kStreamThreads];
    }
  }
}

template <class T, int kBits, int kGroupsOfUnit>
__global__ void __launch_bounds__(kStreamThreads, kStreamBlocksEach)
    StreamKernel(LinearArguments args, Workspace work) {
  const LineCut cut{args.panels * args.units, static_cast<int>(gridDim.x)};
  const int begin = cut.Begin(static_cast<int>(blockIdx.x));
  const int end = cut.Begin(static_cast<int>(blockIdx.x) + 1);
  int at = begin + WarpInBlock();
  UnitCursor<kBits, kGroupsOfUnit> cursor(args, at);
  UnitCodes<kBits> codes;
  UnitInputs<kGroupsOfUnit> inputs, next_inputs;
  if (at < end) {
    AWQ_UNROLL
    for (int v = 0; v < kBits; ++v) {
      cursor.LoadVector(codes, v);
    }
    cursor.LoadInputs(inputs, args);
  }
  for (int panel = begin / args.units; panel * args.units < end; ++panel) {
    const int panel_end = min(end, (panel + 1) * args.units);
    float of_lane[4][4] = {};
    for (; at < panel_end; at += kStreamWarps) {
      const bool has_next = at + kStreamWarps < end;
      cursor.Advance(args);
      if (has_next) {
        cursor.LoadInputs(next_inputs, args);
      }
      AWQ_UNROLL
      for (int b = 0; b < 4; ++b) {
        MultiplyBlock<T, kBits, kGroupsOfUnit>(of_lane[b], codes, inputs, b);
        AWQ_UNROLL
        for (int v = 0; v < kBits; ++v) {  // the vectors whose last word this block was
          if (has_next && (4 * v + 3) / kBits == b) {
            cursor.LoadVector(codes, v);
          }
        }
      }
      inputs = next_inputs;
    }
    float sums[kStreamSumsOfThread];
    AddWarps(sums, of_lane, SharedArray<float>(16));
    if (begin <= panel * args.units && (panel + 1) * args.units <= end) {
      WritePanel<T>(args, panel, sums);
    } else {
      WriteCutPanel<T>(args, work, cut, panel, SharedArray<int>(), sums);
    }
  }
}

// Parts of the line: as many blocks as run at once, but no warp without a unit.
inline int StreamBlocks(const LinearArguments& args, int multiprocessors) {
  const int line = args.panels * args.units;
  return max(1, min(multiprocessors * kStreamBlocksEach, line / kStreamWarps));
}

template <class Launcher, class T, int kBits>
Fault LaunchStreamOf(const Launcher& launcher, const LinearArguments& args, const Workspace& work,
                     int multiprocessors) {
  LaunchShape shape;
  shape.blocks.x = static_cast<unsigned>(StreamBlocks(args, multiprocessors));
  shape.threads = kStreamThreads;
  shape.shared_bytes = kStreamSharedBytes;
  return args.group_inputs % kUnitInputs == 0 || args.groups == 1
             ? launcher(StreamKernel<T, kBits, 1>, shape, args, work)
             : launcher(StreamKernel<T, kBits, 2>, shape, args, work);
}

template <class T, class Launcher>
Fault LaunchStream(const Launcher& launcher, const LinearCall& call, const Workspace& work,
                   int multiprocessors) {
  const LinearArguments args = ArgumentsOf(call);
  switch (call.weights.shape.bits) {
    case 3:
      return LaunchStreamOf<Launcher, T, 3>(launcher, args, work, multiprocessors);
    case 4:
      return LaunchStreamOf<Launcher, T, 4>(launcher, args, work, multiprocessors);
    default:
      return LaunchStreamOf<Launcher, T, 8>(launcher, args, work, multiprocessors);
  }
}

}  // namespace AWQ_CUDA_SIDE
}  // namespace awq::cuda
