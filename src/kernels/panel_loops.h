// The tables of loops over packed weights that one instruction set provides. Plain types only: see
// awq_isa_objects.
#pragma once

#include <cstddef>
#include <cstdint>

namespace awq::kernels {

inline constexpr std::size_t kPanelRows = 16;
inline constexpr std::size_t kMostTokens = 8;  // that one call takes
inline constexpr std::size_t kMostPanels = 2;  // likewise, of int8
// What one scale of a token's int8 inputs may cover.
inline constexpr std::size_t kMostBlockInputs = 32;

// 16 output rows of a linear.
struct PanelWeights {
  // 4 bits: [in / 8][row][4], where byte b of a row has the code of input 8 i + b in its low half,
  // and that of 8 i + 4 + b in the high one. 8 bits: [in / 4][row][4]. 3 bits: [in /
  // 32][3][row][4], where bits 2 k of byte b have the low two bits of the code of input 32 i + 4 k
  // + b in the first third, those of 32 i + 16 + 4 k + b in the second, and bit k its high bit in
  // the last.
  const std::uint8_t* codes;
  std::size_t bits;             // that a code is stored in: 3, 4 or 8
  const std::uint16_t* scales;  // [groups][row], fp16 or bf16
  // [groups][row] where bits are 8; else [groups][8], with that of row r in the low half of byte r,
  // and that of row 8 + r in the high one.
  const std::uint8_t* zeros;
  bool scales_are_bf16;
  std::size_t groups;
  std::size_t group_inputs;  // a multiple of 8, or of 32 where bits are 3
};

// 16 columns a panel of the outputs of up to kMostTokens tokens.
struct PanelOutputs {
  std::size_t tokens;
  float* y;  // [tokens][stride]: 16 floats a panel of each are written
  std::size_t stride;
};

struct Int8Blocks {
  std::size_t group_inputs = 0;
  std::size_t block_inputs = 0;  // divides group_inputs
};

// A block is a run of inputs that share a scale of the weights and one of each token; a group of
// the weights is one or several blocks.
struct Int8Panel {
  PanelWeights weights;      // of the first
  std::size_t panels;        // 1, or 2 one after another in memory
  std::size_t block_inputs;  // as group_inputs, at most kMostBlockInputs
  const std::int8_t* x;      // [tokens][in]
  const float* x_scales;     // [tokens][blocks]
  const float* x_sums;       // [tokens][groups], of x times its scale
  PanelOutputs outputs;
};

// y = sum over groups, in their order, of (a - zero x_sum) scale, where a is the sum over the
// group's blocks, in their order, of (sum of codes x) x_scale; the sum of codes x is an integer,
// its product with x_scale is added without a rounding of its own, and all else is rounded: the
// same bits on every set.
struct Int8Loops {
  void (*multiply)(const Int8Panel& panel);
  // Rounds blocks of x to multiples of max |x| / 127, to nearest even; sums are of each group's
  // codes, block by block times their scale. x has groups * group_inputs. A block that is not
  // finite has the scale NaN.
  void (*quantize)(const float* x, std::size_t groups, const Int8Blocks& blocks, std::int8_t* codes,
                   float* scales, float* sums);
};

struct ExactPanel {
  PanelWeights weights;
  const void* x;        // [tokens][in], floats or what round_pairs makes
  const float* x_sums;  // [tokens][groups], of x
  PanelOutputs outputs;
};

// The two inputs whose codes a shift by 0, 4, 8 or 12 brings to the low ends of a word's halves.
inline constexpr std::size_t kPairedInputs[8] = {0, 2, 4, 6, 1, 3, 5, 7};

// y = sum over groups, in their order, of (sum of codes x - zero sum of x) scale.
struct ExactLoops {
  // Each product and sum is rounded to a float: the same bits on every set.
  void (*multiply_f32)(const ExactPanel& panel);
  // nullptr: the set has no product of bf16. It adds pairs of products as the CPU does.
  void (*multiply_bf16)(const ExactPanel& panel);
  // Sums of x in each of its groups, in 8 lanes: the same bits on every set.
  void (*sum_groups)(const float* x, std::size_t groups, std::size_t group_inputs, float* sums);
  // The same after x is rounded to bf16, to nearest even, which goes to `pairs`: every eight inputs
  // in the order of kPairedInputs.
  void (*round_pairs)(const float* x, std::size_t groups, std::size_t group_inputs,
                      std::uint16_t* pairs, float* sums);
};

namespace baseline {
extern const Int8Loops kInt8Loops;
extern const ExactLoops kExactLoops;
}  // namespace baseline
namespace neon {
extern const Int8Loops kInt8Loops;
extern const ExactLoops kExactLoops;
}  // namespace neon
namespace dotprod {
extern const Int8Loops kInt8Loops;
extern const ExactLoops kExactLoops;
}  // namespace dotprod
namespace avx2 {
extern const Int8Loops kInt8Loops;
extern const ExactLoops kExactLoops;
}  // namespace avx2
namespace avx512 {
extern const Int8Loops kInt8Loops;
extern const ExactLoops kExactLoops;
}  // namespace avx512
namespace avx512vnni {
extern const Int8Loops kInt8Loops;
extern const ExactLoops kExactLoops;
}  // namespace avx512vnni
namespace avx512bf16 {
extern const Int8Loops kInt8Loops;
extern const ExactLoops kExactLoops;
}  // namespace avx512bf16

}  // namespace awq::kernels
