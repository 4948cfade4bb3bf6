// The one place for group arithmetic: how a range becomes a scale and a zero, and weights become
// codes. With n = 2^bits - 1, for a group whose values, and zero, lie in [lo, hi]:
//   asymmetric  scale = fp16(max(hi - lo, 1e-5) / n)      zero = clamp(round(-lo / scale), 0, n)
//   symmetric   scale = fp16(max(max|w|, 1e-5) / (2^(bits-1) - 1))         zero = 2^(bits-1)
//   code = clamp(round(w / scale) + zero, 0, n)            w' = (code - zero) * scale
// round is half to even; arithmetic is float32 with true divisions and gives the same bits on every
// instruction set. The scale is rounded to fp16 before use (and is never 0), so that what is
// measured is what is stored. This is the published quantizer, except that zero is kept in range:
// a group of one sign then loses nothing.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>

#include "base/isa.h"
#include "base/threads.h"
#include "quant/group_loops.h"
#include "quant/quantized_linear.h"
#include "tensor/tensor.h"

namespace awq::quant {

inline constexpr float kNoBound = std::numeric_limits<float>::infinity();

// 2 <= bits <= 8 and whole groups. `name` is the tensor that an error names.
Status CheckSpec(const Spec& spec, std::size_t in_features, std::string_view name);

// Every weight is finite and every group's scale fits fp16 (range up to about n * 65504).
Status CheckWeights(ThreadPool& pool, MatrixView<const float> weights, const Spec& spec,
                    std::string_view name);

// Dense rows rounded to nearest, as rounded.spec says; the sizes of `rounded` are right. Error: a
// weight that is not finite, or a group whose scale is beyond its type; `name` is the tensor's.
Status RoundRows(const TensorView& rows, std::string_view name, QuantizedLinear& rounded);

// lo <= 0 <= hi
struct GroupRange {
  float lo = 0;
  float hi = 0;
  float largest_magnitude() const { return -lo > hi ? -lo : hi; }
};

// The arithmetic of one Spec on the fastest instruction set; cheap to copy. Thread-safe.
class GroupQuantizer {
 public:
  explicit GroupQuantizer(const Spec& spec);  // precondition: CheckSpec
  GroupQuantizer(const Spec& spec, const GroupLoops& loops);

  // The least range that holds zero and the weights.
  GroupRange Range(const float* weights, std::size_t n) const;
  // The map for values in `range` clamped to [-bound, bound]; it clamps elements alike.
  GroupMap MapOf(const GroupRange& range, float bound = kNoBound) const;

  void Quantize(const GroupMap& map, const float* weights, std::size_t n,
                std::uint8_t* codes) const;
  // residual = w - Q(w), n elements of one group
  void Residual(const GroupMap& map, const float* weights, std::size_t n, float* residual) const;

  // Whole rows of in_features elements. `bounds`, one per group, may be null.
  void QuantizeRow(const float* weights, const float* bounds, std::size_t in_features,
                   std::uint8_t* codes, float* scales, std::uint8_t* zeros) const;
  // residual = w - Q(w * s) / s: the inner loop of the scale search
  void ScaledResidual(const float* weights, const float* s, std::size_t in_features,
                      float* residual) const;
  void ScaledResidual(const float* weights, const float* s, std::size_t in_features,
                      BF16* residual) const;

 private:
  const GroupLoops* loops_;
  CodeRange codes_;
  std::size_t group_size_;
};

// The loops compiled for `isa`; the caller makes sure that this CPU has it.
const GroupLoops& LoopsFor(Isa isa);

}  // namespace awq::quant
