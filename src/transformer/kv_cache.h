// Keys and values of past tokens, per layer and sequence slot, in the precision of the arithmetic.
#pragma once

#include <cstddef>
#include <vector>

#include "math/matmul.h"
#include "model/config.h"
#include "tensor/tensor.h"

namespace awq::transformer {

struct CacheShape {
  std::size_t layers = 1;
  std::size_t slots = 1;            // sequences
  std::size_t capacity_tokens = 0;  // per sequence
};

class KvCache {
 public:
  KvCache(const model::ModelConfig& config, math::Precision precision, const CacheShape& shape);

  static std::size_t Bytes(const model::ModelConfig& config, math::Precision precision,
                           const CacheShape& shape);

  const CacheShape& shape() const { return shape_; }
  math::Precision precision() const { return precision_; }

  // Room for at least so many tokens, what is there kept.
  void Reserve(std::size_t capacity_tokens);

  // [capacity_tokens, kv_width]; T is the precision's type. Never-written rows are zero, so that
  // a masked key adds exactly nothing.
  template <class T>
  MatrixView<T> Keys(std::size_t layer, std::size_t slot) {
    return View<T>(2 * (layer * shape_.slots + slot));
  }
  template <class T>
  MatrixView<T> Values(std::size_t layer, std::size_t slot) {
    return View<T>(2 * (layer * shape_.slots + slot) + 1);
  }

 private:
  template <class T>
  MatrixView<T> View(std::size_t index) {
    const std::size_t elements = shape_.capacity_tokens * kv_width_;
    return {reinterpret_cast<T*>(memory_.data()) + index * elements, shape_.capacity_tokens,
            kv_width_};
  }

  std::size_t RowBytes() const;  // of one token's keys in one layer

  CacheShape shape_;
  math::Precision precision_;
  std::size_t kv_width_;
  Buffer<std::byte> memory_;
};

}  // namespace awq::transformer
