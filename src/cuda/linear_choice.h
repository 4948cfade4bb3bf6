// Which kernel computes a linear of a shape and a number of tokens on a device.
#pragma once

#include "cuda/weights.h"

namespace awq::cuda {

enum class LinearWay {
  kStream,  // linear_stream.cuh
  kTile,    // linear_tile.cuh
  kWgmma,   // linear_wgmma.cuh; where HasWgmmaLinear says no, kTile
  kDense,   // dequantize_weights.cuh and cuBLASLt; where that is not found, kWgmma
};

struct LinearChoice {
  LinearWay way = LinearWay::kTile;
  int tile_tokens = 64;  // of kTile: 16, 32, 64; of kWgmma: also 128
};

// `capability`: 10 major + minor.
LinearChoice ChooseLinear(int capability, const WeightShape& shape, int tokens);

}  // namespace awq::cuda
