// What calibration gathers of a site's inputs beside products of them (ops.h): what
// search::StatisticsAccumulator does. Launches on a stream of the current device; pointers and
// shapes as in ops.h. All sums are in an order that depends on the shapes alone: the same bits
// every time.
#pragma once

#include <cstdint>

#include "cuda/ops.h"

namespace awq::cuda {

struct InputRows {
  const void* data = nullptr;     // [tokens, width]
  Element type = Element::kBF16;  // or kF16
  int tokens = 0;
  int width = 0;
};

// Infinities and NaNs, added up; null where they are not asked for.
using NonfiniteCount = unsigned long long*;

// sums[column] += the sum of |x|, largest[column] = the largest |x| so far that is no NaN.
struct ColumnsTask {
  InputRows x;
  double* sums = nullptr;    // [width]
  float* largest = nullptr;  // [width]
  NonfiniteCount nonfinite = nullptr;
  double* part_sums = nullptr;    // scratch, [ColumnParts(x.tokens), width]
  float* part_largest = nullptr;  // scratch, likewise
};
inline constexpr int kColumnPartTokens = 64;
inline int ColumnParts(int tokens) {
  return tokens / kColumnPartTokens + (tokens % kColumnPartTokens > 0 ? 1 : 0);
}
Fault AddColumns(const ColumnsTask& task, StreamHandle stream);

// Each row of the sketch has its tokens added with their signs: in the order of the list, by fp32
// additions, and so with the bits of a CPU that does the same.
struct SketchTask {
  InputRows x;
  const std::uint32_t* starts = nullptr;  // [rows + 1], places in `tokens`, of each row's first
  const std::uint32_t* tokens = nullptr;  // rows of x; kSketchMinus: taken off
  int rows = 0;
  float* sketch = nullptr;  // [rows, width]
  NonfiniteCount nonfinite = nullptr;
};
inline constexpr std::uint32_t kSketchMinus = 0x80000000U;
Fault AddSketch(const SketchTask& task, StreamHandle stream);

// out = a - b in fp32, rounded.
struct DifferenceTask {
  InputRows a;
  const void* b = nullptr;  // as a
  void* out = nullptr;      // as a, which it may be, or b
};
Fault Subtract(const DifferenceTask& task, StreamHandle stream);

// to[i] = x[first + i step] in fp32.
struct WidenTask {
  InputRows x;
  int first = 0;
  int step = 1;
  int count = 0;        // first + (count - 1) step < x.tokens
  float* to = nullptr;  // [count, width]
  NonfiniteCount nonfinite = nullptr;
};
Fault Widen(const WidenTask& task, StreamHandle stream);

// The upper triangle times `factor`, and below the diagonal the same.
struct MirrorTask {
  float* matrix = nullptr;  // [n, n]
  int n = 0;
  float factor = 1;
};
Fault Mirror(const MirrorTask& task, StreamHandle stream);

}  // namespace awq::cuda
