// The table of int8 loops that one instruction set provides. Plain types only: see awq_isa_objects.
#pragma once

#include <cstddef>
#include <cstdint>

namespace awq::kernels {

inline constexpr std::size_t kPanelRows = 16;
inline constexpr std::size_t kMostTokens = 8;  // that one call takes

// 16 output rows times up to kMostTokens tokens. A block is a run of inputs that share a scale of
// the weights and one of each token; a group of the weights is one or several blocks.
struct Int8Panel {
  // [in / 8][row][4]: byte b of a row has the code of input 8 i + b in its low half, and that of
  // 8 i + 4 + b in the high one.
  const std::uint8_t* codes;
  const std::uint16_t* scales;  // [groups][row], fp16 or bf16
  const std::uint8_t* zeros;    // [groups][row]
  bool scales_are_bf16;
  std::size_t blocks;
  std::size_t block_inputs;  // a multiple of 8, at most kMostBlockInputs
  std::size_t blocks_per_group;
  const std::int8_t* x;  // [tokens][in]
  std::size_t in_features;
  const float* x_scales;       // [tokens][blocks]
  const std::int32_t* x_sums;  // [tokens][blocks], of x
  std::size_t tokens;
  float* y;  // [tokens][y_stride]: 16 floats of each are written
  std::size_t y_stride;
};

// y = sum over blocks, in their order, of (sum of codes x - zero sum of x) (scale x_scale), where
// the sums in brackets are integers, and each product and sum of floats is rounded: the same bits
// on every set.
struct Int8Loops {
  void (*multiply)(const Int8Panel& panel);
  // Rounds blocks of x to multiples of max |x| / 127, to nearest even. x has blocks * block_inputs.
  // A block that is not finite has the scale NaN.
  void (*quantize)(const float* x, std::size_t blocks, std::size_t block_inputs, std::int8_t* codes,
                   float* scales, std::int32_t* sums);
};

// What one scale of a token's inputs may cover.
inline constexpr std::size_t kMostBlockInputs = 128;

namespace baseline {
extern const Int8Loops kInt8Loops;
}
namespace avx2 {
extern const Int8Loops kInt8Loops;
}
namespace avx512 {
extern const Int8Loops kInt8Loops;
}
namespace avx512vnni {
extern const Int8Loops kInt8Loops;
}

}  // namespace awq::kernels
