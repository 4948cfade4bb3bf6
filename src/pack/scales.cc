#include "pack/scales.h"

#include <cstring>
#include <vector>

#include "base/check.h"
#include "math/vector.h"

namespace awq::pack {
namespace {

template <class T>
T From(float value) {
  if constexpr (std::is_same_v<T, F16>) return ToF16(value);
  if constexpr (std::is_same_v<T, BF16>) return ToBF16(value);
  if constexpr (std::is_same_v<T, float>) return value;
}

template <class T>
void Store(MatrixView<const float> scales, std::size_t first, const ScalePlaces& places,
           std::byte* part) {
  for (std::size_t g = 0; g < scales.cols; ++g) {
    for (std::size_t r = 0; r < scales.rows; ++r) {
      const T stored = From<T>(scales(r, g));
      const std::size_t place = (first + r) * places.row_stride + g * places.group_stride;
      std::memcpy(part + place * sizeof(T), &stored, sizeof(T));
    }
  }
}

// `count` scales from `from` on, side by side; not aligned.
void Widen(const std::byte* from, DType dtype, std::span<float> to) {
  math::Convert(TensorView{dtype, {to.size()}, {from, to.size() * ElementBytes(dtype)}}, to);
}

}  // namespace

bool IsHalf(DType dtype) { return dtype == DType::kF16 || dtype == DType::kBF16; }

void StoreScales(MatrixView<const float> scales, std::size_t first, DType dtype,
                 const ScalePlaces& places, std::byte* part) {
  if (dtype == DType::kF16) return Store<F16>(scales, first, places, part);
  if (dtype == DType::kBF16) return Store<BF16>(scales, first, places, part);
  AWQ_CHECK(dtype == DType::kF32);
  Store<float>(scales, first, places, part);
}

void LoadScales(const std::byte* part, std::size_t first, DType dtype, const ScalePlaces& places,
                MatrixView<float> scales) {
  const auto place = [&](std::size_t row, std::size_t group) {
    const std::size_t at = (first + row) * places.row_stride + group * places.group_stride;
    return part + at * ElementBytes(dtype);
  };
  if (places.group_stride == 1) {
    for (std::size_t r = 0; r < scales.rows; ++r) {
      Widen(place(r, 0), dtype, {scales.row(r), scales.cols});
    }
    return;
  }
  AWQ_CHECK_EQ(places.row_stride, std::size_t{1});
  std::vector<float> of_rows(scales.rows);
  for (std::size_t g = 0; g < scales.cols; ++g) {
    Widen(place(0, g), dtype, of_rows);
    for (std::size_t r = 0; r < scales.rows; ++r) scales(r, g) = of_rows[r];
  }
}

}  // namespace awq::pack
