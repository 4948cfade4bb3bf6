// The vector loops behind group.h, one set per instruction set. Plain types only: group_isa.cc is
// compiled once per instruction set. All sets give the same bits.
#pragma once

#include <cstddef>
#include <cstdint>

namespace awq::quant {

// What a Spec means for codes.
struct CodeRange {
  float max_code = 15;  // 2^bits - 1
  float mid_code = 8;   // 2^(bits-1)
  bool symmetric = false;
};

// w ~ (code - zero) * scale for the elements of one group, after clamping to [-bound, bound].
struct GroupMap {
  float scale = 1;  // an fp16 value, > 0
  float zero = 0;   // an integer in [0, max_code]
  float bound = 0;  // infinity where nothing is clipped
};

struct GroupLoops {
  // lo <= 0 <= hi enclose the n weights.
  void (*range)(const float* w, std::size_t n, float* lo, float* hi);
  void (*map)(const CodeRange& codes, float lo, float hi, GroupMap* out);
  void (*quantize)(const CodeRange& codes, const GroupMap& map, const float* w, std::size_t n,
                   std::uint8_t* out);
  // d = w - Q(w)
  void (*residual)(const CodeRange& codes, const GroupMap& map, const float* w, std::size_t n,
                   float* d);
  // d = w - Q(w * s) / s for a row of n weights in groups of `group`
  void (*scaled_residual_f32)(const CodeRange& codes, const float* w, const float* s, std::size_t n,
                              std::size_t group, float* d);
  void (*scaled_residual_bf16)(const CodeRange& codes, const float* w, const float* s,
                               std::size_t n, std::size_t group, std::uint16_t* d);
  void (*dequantize)(const std::uint8_t* codes, std::size_t n, float scale, float zero, float* w);
};

namespace baseline {
extern const GroupLoops kGroupLoops;
}
namespace avx2 {
extern const GroupLoops kGroupLoops;
}
namespace avx512 {
extern const GroupLoops kGroupLoops;
}

}  // namespace awq::quant
