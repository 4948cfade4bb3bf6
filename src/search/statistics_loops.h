// The vector loops behind statistics.h. Plain types only: statistics_isa.cc is compiled once per
// instruction set. All sets give the same bits: each column is summed in the order of the tokens.
#pragma once

#include <cstddef>
#include <cstdint>

namespace awq::search {

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
