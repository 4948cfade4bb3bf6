#include "pipeline/hidden_store.h"

#include <algorithm>

#include "math/vector.h"

namespace awq::pipeline {

HiddenStore::HiddenStore(math::Precision precision, std::size_t tokens, std::size_t width)
    : precision_(precision) {
  if (precision == math::Precision::kBF16) {
    bf16_ = Matrix<BF16>(tokens, width);
  } else {
    f32_ = Matrix<float>(tokens, width);
  }
}

HiddenStore HiddenStore::Copy() const {
  HiddenStore copy(precision_, std::max(f32_.rows(), bf16_.rows()),
                   std::max(f32_.cols(), bf16_.cols()));
  std::ranges::copy(f32_.span(), copy.f32_.span().begin());
  std::ranges::copy(bf16_.span(), copy.bf16_.span().begin());
  return copy;
}

std::size_t HiddenStore::Bytes(math::Precision precision, std::size_t tokens, std::size_t width) {
  return tokens * width * (precision == math::Precision::kBF16 ? sizeof(BF16) : sizeof(float));
}

void HiddenStore::Load(ThreadPool& pool, std::size_t first, MatrixView<float> rows) const {
  pool.ParallelFor(rows.rows, [&](std::size_t t, std::size_t) {
    const std::span<float> to(rows.row(t), rows.cols);
    if (precision_ == math::Precision::kBF16) {
      math::Convert(std::span<const BF16>(bf16_.row(first + t), rows.cols), to);
    } else {
      std::copy_n(f32_.row(first + t), rows.cols, to.begin());
    }
  });
}

void HiddenStore::Store(ThreadPool& pool, std::size_t first, MatrixView<const float> rows) {
  pool.ParallelFor(rows.rows, [&](std::size_t t, std::size_t) {
    const std::span<const float> from(rows.row(t), rows.cols);
    if (precision_ == math::Precision::kBF16) {
      math::Convert(from, std::span<BF16>(bf16_.row(first + t), rows.cols));
    } else {
      std::copy(from.begin(), from.end(), f32_.row(first + t));
    }
  });
}

}  // namespace awq::pipeline
