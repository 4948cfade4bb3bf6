// The vector loops behind statistics.h, and which token goes where in a sketch, on the CPU and on a
// GPU. Plain types only: statistics_isa.cc is compiled once per instruction set. All sets give the
// same bits: each column is summed in the order of the tokens.
#pragma once

#include <cstddef>
#include <cstdint>

namespace awq::search {

// Where a token goes in a sketch, and whether it is taken off there.
struct SketchPlace {
  std::size_t row = 0;
  std::uint32_t sign = 0;  // a float's: bit 31
};

// SplitMix64 of the token's index, counted over all calls, decides. The row must be random too:
// windows start with huge and nearly equal inputs, and with row = token mod rows those of all
// windows would meet in one row and might cancel there.
//
// Of internal linkage: what is compiled for one instruction set is no copy for others to call.
static inline SketchPlace PlaceInSketch(std::uint64_t token, std::size_t rows) {
  std::uint64_t z = (token + 1) * 0x9e3779b97f4a7c15ULL;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  z ^= z >> 31;
  return {(z & 0xffffffffU) % rows, static_cast<std::uint32_t>(z >> 32) & 0x80000000U};
}

// A range of columns of the sums.
struct ColumnSums {
  double* abs_sum = nullptr;  // [columns]
  float* max_abs = nullptr;   // [columns]
  float* sketch = nullptr;    // [sketch_rows, columns], null where there is none
  std::size_t sketch_rows = 0;
  std::size_t sketch_stride = 0;
};

// A range of columns of consecutive tokens' inputs; `first_token` counts over all calls.
template <class T>
struct TokenColumns {
  const T* x = nullptr;
  std::size_t stride = 0;
  std::size_t tokens = 0;
  std::size_t columns = 0;
  std::size_t first_token = 0;
};

// Both return the number of non-finite inputs.
struct StatisticsLoops {
  std::size_t (*add_f32)(const TokenColumns<float>& tokens, const ColumnSums& sums);
  std::size_t (*add_bf16)(const TokenColumns<std::uint16_t>& tokens, const ColumnSums& sums);
};

namespace baseline {
extern const StatisticsLoops kStatisticsLoops;
}
namespace avx2 {
extern const StatisticsLoops kStatisticsLoops;
}
namespace avx512 {
extern const StatisticsLoops kStatisticsLoops;
}

}  // namespace awq::search
