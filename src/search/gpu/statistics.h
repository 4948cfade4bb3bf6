// What calibration keeps of a site's inputs, on a GPU, and how it is gathered there:
// StatisticsAccumulator and SiteStatistics (search/statistics.h) once more.
#pragma once

#include <cstddef>
#include <vector>

#include "cuda/statistics.h"
#include "search/gpu/judge.h"
#include "search/gpu/queue.h"
#include "search/statistics.h"

namespace awq::search::gpu {

// Its queue must outlive it.
struct DeviceStatistics {
  std::size_t tokens = 0;
  std::size_t nonfinite = 0;    // where there are any, the rest is worthless
  std::vector<float> mean_abs;  // [in]
  std::vector<float> max_abs;   // [in]
  Buffer gram;                  // [in, in], both triangles
  Buffer cross;      // [in, in]; empty where inputs came in no pairs, or with `projected`
  Buffer projected;  // [projected_rows, in], which only the CPU gathers
  int projected_rows = 0;
  JudgeRows sketch;
  JudgeRows held_out;  // no rows: none

  int in() const { return static_cast<int>(mean_abs.size()); }
};

// After a fault of the queue what they return is of no use.
DeviceStatistics Uploaded(Queue& queue, SiteStatistics statistics);
SiteStatistics Downloaded(Queue& queue, DeviceStatistics statistics);

// What StatisticsAccumulator gathers as Gather::kSequential, of bf16 rows on the device, without a
// projection: sketches and held-out rows have the same bits, Gram matrices sums in another order.
class DeviceAccumulator {
 public:
  // width: a multiple of 8. The queue must outlive it.
  DeviceAccumulator(Queue& queue, std::size_t width, bool paired);

  // x [tokens, width], and where it is paired the targets of the same tokens, else null. Both are
  // read in the order of the queue's work.
  void Add(const void* x, const void* targets, int tokens);
  // `count` rows, first, first + step, ..., of such are kept as they are, in the statistics of
  // nothing.
  void HoldOut(const void* x, const void* targets, int first, int step, int count);

  std::size_t tokens() const { return tokens_; }
  // Infinities and NaNs seen so far. Waits.
  std::size_t CountNonfinite();

  // Waits; it is spent. Precondition: tokens() > 0.
  DeviceStatistics Finish() &&;

 private:
  void CheckTargets(const void* targets) const;
  void AddChunk(const cuda::InputRows& x, const void* targets);
  void AddCross(const cuda::InputRows& x, const void* targets);
  void AddColumns(const cuda::InputRows& x);
  void AddSketches(const cuda::InputRows& x, const void* targets);
  Buffer Appended(const Buffer& held, const cuda::WidenTask& rows);

  Queue& queue_;
  int width_;
  bool paired_;
  std::size_t tokens_ = 0;
  int held_out_rows_ = 0;
  Buffer gram_, cross_;             // [width, width]
  Buffer sketch_, target_sketch_;   // [kSketchRows, width]
  Buffer abs_sums_, max_abs_;       // [width], fp64 and fp32
  Buffer nonfinite_;                // cuda::NonfiniteCount
  Buffer held_out_, held_targets_;  // [held_out_rows_, width]
};

}  // namespace awq::search::gpu
