// Keys (rotated) and values of past tokens, per layer, sequence slot and key head.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "math/matmul.h"
#include "model/config.h"
#include "tensor/tensor.h"
#include "transformer/narrow_rows.h"

namespace awq::transformer {

// What keys and values are held in.
enum class KvType : unsigned char {
  kExact,  // what the arithmetic computes with: fp32 or bf16
  kF16,    // what is beyond its range as its largest
  kInt8,   // with an fp32 scale for each token's row of a key head, max |x| / 127
};

struct CacheShape {
  std::size_t layers = 1;
  std::size_t slots = 1;            // sequences
  std::size_t capacity_tokens = 0;  // per sequence
  KvType type = KvType::kExact;
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

  struct Place {
    std::size_t layer = 0;
    std::size_t slot = 0;
    std::size_t position = 0;
  };
  // Rows [kv_width] of one token, rounded to what the cache holds.
  void Store(const Place& place, std::span<const float> keys, std::span<const float> values);

  // [capacity_tokens, head_dim]; T is the precision's type. Never-written rows are zero, so that
  // a masked key adds exactly nothing. Precondition: kExact.
  template <class T>
  MatrixView<T> Keys(std::size_t layer, std::size_t slot, std::size_t kv_head) {
    return View<T>(FirstRow(layer, slot, kv_head, false));
  }
  template <class T>
  MatrixView<T> Values(std::size_t layer, std::size_t slot, std::size_t kv_head) {
    return View<T>(FirstRow(layer, slot, kv_head, true));
  }
  // The same of kF16 and kInt8.
  NarrowRows NarrowKeys(std::size_t layer, std::size_t slot, std::size_t kv_head) const {
    return Narrow(FirstRow(layer, slot, kv_head, false));
  }
  NarrowRows NarrowValues(std::size_t layer, std::size_t slot, std::size_t kv_head) const {
    return Narrow(FirstRow(layer, slot, kv_head, true));
  }

 private:
  // Rows are those of all tokens of one head's keys, then of its values, head after head.
  std::size_t FirstRow(std::size_t layer, std::size_t slot, std::size_t kv_head,
                       bool is_value) const {
    const std::size_t head = (layer * shape_.slots + slot) * kv_heads_ + kv_head;
    return (2 * head + (is_value ? 1 : 0)) * shape_.capacity_tokens;
  }
  template <class T>
  MatrixView<T> View(std::size_t first_row) {
    AWQ_CHECK(shape_.type == KvType::kExact);
    AWQ_CHECK_EQ(element_bytes_, sizeof(T));
    return {reinterpret_cast<T*>(memory_.data()) + first_row * head_dim_, shape_.capacity_tokens,
            head_dim_};
  }
  NarrowRows Narrow(std::size_t first_row) const;
  void StoreRow(std::size_t row, std::span<const float> values);
  void Allocate();

  CacheShape shape_;
  math::Precision precision_;
  std::size_t kv_heads_;
  std::size_t head_dim_;
  std::size_t element_bytes_;
  Buffer<std::byte> memory_;
  Buffer<float> scales_;  // by row; of kInt8 only
};

}  // namespace awq::transformer
