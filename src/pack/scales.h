// Scales in the dtypes that files have, in any order of rows and groups.
#pragma once

#include <cstddef>

#include "tensor/tensor.h"

namespace awq::pack {

// Where scale (row, group) stands, in elements from the start of the part.
struct ScalePlaces {
  std::size_t row_stride = 0;
  std::size_t group_stride = 0;
};

// `first` is the row of the whole linear that row 0 of the matrix is. F16, BF16 or F32; exact,
// since every scale is a value of the dtype.
void StoreScales(MatrixView<const float> scales, std::size_t first, DType dtype,
                 const ScalePlaces& places, std::byte* part);
void LoadScales(const std::byte* part, std::size_t first, DType dtype, const ScalePlaces& places,
                MatrixView<float> scales);

// F16 and BF16, what 16-bit models have.
bool IsHalf(DType dtype);

}  // namespace awq::pack
