// Weights rounded to codes on the device: group maps, ranges, feedback, scales refitted, and what
// an error costs. The arithmetic is that of quant/group.h and of the functions of search that bear
// the same names. Launches on a stream of the current device; every pointer is one of the device.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/matrix.h"

namespace awq::cuda {

struct CodeSpec {
  int group_size = 0;
  float max_code = 0;  // 2^bits - 1
  float mid_code = 0;  // 2^(bits - 1)
  bool symmetric = false;
};

// Codes of rows of weights, a row after another.
struct DeviceCodes {
  std::uint8_t* codes = nullptr;  // [rows, columns]
  float* steps = nullptr;         // [rows, groups], numbers of fp16
  std::uint8_t* zeros = nullptr;  // [rows, groups]
};

// Each group of W diag(s) gets a map: of its full range, of the range within its bound, or of the
// range with the least sum of (unit e)^2 (SearchRanges). Then, where asked for, codes and what is
// left of W: w - Q(w s) / s.
struct GroupTask {
  DeviceMatrix weights;           // W
  const float* scale = nullptr;   // [columns]; null: 1
  const float* bounds = nullptr;  // [rows, groups]; null: none
  const float* units = nullptr;   // [columns]; null: full ranges
  CodeSpec spec;
  DeviceCodes to;         // any may be null
  DeviceMatrix residual;  // data may be null
};
Fault RoundGroups(const GroupTask& task, StreamHandle stream);

// SearchClip: the bound of each group among 1.00, 0.95, ..., 0.55 of its largest magnitude, by
// e H_gg e^T; weights are W, H of the unscaled problem. A group takes kClipBytes of a block's
// shared memory for each of its columns.
inline constexpr std::size_t kClipBytes = 40;
struct ClipTask {
  DeviceMatrix weights;          // columns: a multiple of 4
  const float* scale = nullptr;  // [columns]
  const float* gram = nullptr;   // [columns, columns]
  CodeSpec spec;
  float* bounds = nullptr;  // [rows, groups]
};
Fault SearchClip(const ClipTask& task, StreamHandle stream);

// sums[column] = the sum over the rows of |w| / max |w| of its group. parts: scratch,
// [ProfileParts(rows), columns].
inline int ProfileParts(int rows) { return (rows + 63) / 64; }
struct ProfileTask {
  DeviceMatrix weights;
  int group_size = 0;
  float* parts = nullptr;
  double* sums = nullptr;  // [columns], added to
};
Fault AddProfile(const ProfileTask& task, StreamHandle stream);

// W - Q diag(1/s).
struct ErrorTask {
  DeviceMatrix weights;
  const float* scale = nullptr;  // [columns]
  DeviceCodes rounded;
  int group_size = 0;
  DeviceMatrix to;
};
Fault RoundingErrors(const ErrorTask& task, StreamHandle stream);

// Channels that are rounded by one launch.
inline constexpr int kFeedbackBlock = 128;

// RoundWithFeedback: the codes for the maps that `rounded` has.
struct FeedbackTask {
  DeviceMatrix weights;                  // W, unscaled
  const float* scale = nullptr;          // [n], by channel
  const float* lower = nullptr;          // [n, n], by place, as FactorGram leaves it
  const std::uint32_t* order = nullptr;  // [n], the channel at each place
  const float* added = nullptr;          // [n], by channel
  CodeSpec spec;
  DeviceCodes rounded;        // codes may be null
  float* feedback = nullptr;  // scratch, [rows, n]
  float* errors = nullptr;    // scratch, [rows, kFeedbackBlock]
  double* losses = nullptr;   // [rows], d H d^T
};
Fault RoundWithFeedback(const FeedbackTask& task, StreamHandle stream);

// RefitScales, for some rows.
struct RefitTask {
  DeviceMatrix weights;
  const float* scale = nullptr;  // [n]
  const float* gram = nullptr;   // [n, n]
  const float* added = nullptr;  // [n], by channel
  int group_size = 0;
  DeviceCodes rounded;        // the steps are refitted
  float* shares = nullptr;    // scratch, [rows, n]
  float* products = nullptr;  // scratch, [rows, n]
  float* systems = nullptr;   // scratch, [rows, groups, groups]
  float* right = nullptr;     // scratch, [rows, groups]
  double* losses = nullptr;   // [rows], less w M w^T
};
Fault RefitScales(const RefitTask& task, StreamHandle stream);

// Rows of `other` that lose less take the place of those of `kept`, and so do their losses.
struct KeepTask {
  int rows = 0, columns = 0, groups = 0;
  DeviceCodes other;
  const double* other_losses = nullptr;
  DeviceCodes kept;
  double* losses = nullptr;
};
Fault KeepBetterRows(const KeepTask& task, StreamHandle stream);

}  // namespace awq::cuda
