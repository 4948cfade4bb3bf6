#include "pack/scales.h"

#include <cstring>

#include "base/check.h"

namespace awq::pack {
namespace {

template <class T>
T From(float value) {
  if constexpr (std::is_same_v<T, F16>) return ToF16(value);
  if constexpr (std::is_same_v<T, BF16>) return ToBF16(value);
  if constexpr (std::is_same_v<T, float>) return value;
}

float AsFloat(float value) { return value; }
template <class T>
float AsFloat(T value) {
  return ToFloat(value);
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

template <class T>
void Load(const std::byte* part, std::size_t first, const ScalePlaces& places,
          MatrixView<float> scales) {
  for (std::size_t g = 0; g < scales.cols; ++g) {
    for (std::size_t r = 0; r < scales.rows; ++r) {
      T stored;
      const std::size_t place = (first + r) * places.row_stride + g * places.group_stride;
      std::memcpy(&stored, part + place * sizeof(T), sizeof(T));
      scales(r, g) = AsFloat(stored);
    }
  }
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
  if (dtype == DType::kF16) return Load<F16>(part, first, places, scales);
  if (dtype == DType::kBF16) return Load<BF16>(part, first, places, scales);
  AWQ_CHECK(dtype == DType::kF32);
  Load<float>(part, first, places, scales);
}

}  // namespace awq::pack
