// Quantized weights as the kernels read them, and the permutation that makes them on the host.
//
// The weights are the matrix A of y^T = W x^T, so that 16 rows of them fill one side of a tensor
// core's product and 8 tokens the other. A lane's part of it comes straight from memory, by loads
// of 16 bytes:
//   panel      64 rows: 4 blocks of 16, what a warpgroup's wgmma takes
//   unit       64 inputs of a panel: `bits` vectors of 16 bytes for each of 32 lanes,
//   [vector][lane] codes      [panel][unit][vector][lane][16 bytes] scales     [panel][group][row %
//   8][row / 16][row / 8 % 2], fp16: 8 rows of a lane are 16 bytes zeros      as scales, 8 bits
//   each
// Rows and inputs that do not exist have codes, scales and zeros of 0.
//
// Input k of a unit, with t = k % 32 / 8, is at lane 4 (row % 8) + t; it is element k % 2 of
// register r = 2 (k % 4 / 2) + row / 8 % 2 of A in the product j = 2 (k / 32) + k % 8 / 4 of the
// unit's four: so a lane's inputs x are two runs of 8, and a group of 32 inputs is two products.
// With b = row / 16:
//   4 bits: word 4 b + j, bits 4 r + 16 (k % 2)
//   8 bits: word 8 b + 2 j + r / 2, byte 2 (r % 2) + k % 2
//   3 bits: with p = 4 j + r, the lower two in word 3 b + p / 8, bits 2 (p % 8) + 16 (k % 2); the
//           highest in word 3 b + 2, bit p + 16 (k % 2)
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/fault.h"

namespace awq::cuda {

inline constexpr int kPanelRows = 64;
inline constexpr int kUnitInputs = 64;
inline constexpr int kVectorBytes = 16;

struct WeightShape {
  int outputs = 0;
  int inputs = 0;
  int bits = 4;
  int group_inputs = 128;  // that share a scale and a zero; a whole row: inputs
};

// kUnsupported where the kernels cannot take it: 3, 4 or 8 bits; inputs and group_inputs multiples
// of 32; either side at most 2^20.
Fault CheckShape(const WeightShape& shape);

struct WeightLayout {
  int panels = 0;
  int units = 0;  // of a panel
  int groups = 0;
  std::size_t codes_bytes = 0;
  std::size_t scales_bytes = 0;
  std::size_t zeros_bytes = 0;
};
WeightLayout LayOut(const WeightShape& shape);

// Canonical form, from the first row of a run of panels on.
struct CanonicalRows {
  const std::uint8_t* codes;    // [row][inputs]
  const std::uint16_t* scales;  // [row][groups], fp16
  const std::uint8_t* zeros;    // [row][groups]
};
struct MutableRows {
  std::uint8_t* codes;
  std::uint16_t* scales;
  std::uint8_t* zeros;
};
// Whole arrays, of the sizes that LayOut says.
struct PackedArrays {
  std::uint8_t* codes;
  std::uint16_t* scales;
  std::uint8_t* zeros;
};

// Panels [first, first + count) of a shape that CheckShape allows. Calls for different panels may
// run at the same time.
void PackPanels(const WeightShape& shape, int first, int count, const CanonicalRows& from,
                const PackedArrays& to);
void UnpackPanels(const WeightShape& shape, int first, int count, const PackedArrays& from,
                  const MutableRows& to);

}  // namespace awq::cuda
