#include "transformer/kv_cache.h"

#include <algorithm>
#include <utility>

#include "math/vector.h"

namespace awq::transformer {
namespace {

std::size_t ElementBytes(KvType type, math::Precision precision) {
  switch (type) {
    case KvType::kInt8:
      return sizeof(std::int8_t);
    case KvType::kF16:
      return sizeof(F16);
    case KvType::kExact:
      break;
  }
  return precision == math::Precision::kBF16 ? sizeof(BF16) : sizeof(float);
}

std::size_t ScaleBytes(KvType type) { return type == KvType::kInt8 ? sizeof(float) : 0; }

}  // namespace

std::size_t KvCache::Bytes(const model::ModelConfig& config, math::Precision precision,
                           const CacheShape& shape) {
  const std::size_t row_bytes =
      config.head_dim * ElementBytes(shape.type, precision) + ScaleBytes(shape.type);
  const auto bytes = CheckedProduct(
      {2, shape.layers, shape.slots, config.num_key_value_heads, shape.capacity_tokens, row_bytes});
  if (!bytes) throw std::bad_alloc();
  return *bytes;
}

KvCache::KvCache(const model::ModelConfig& config, math::Precision precision,
                 const CacheShape& shape)
    : shape_(shape),
      precision_(precision),
      kv_heads_(config.num_key_value_heads),
      head_dim_(config.head_dim),
      element_bytes_(ElementBytes(shape.type, precision)) {
  (void)Bytes(config, precision, shape);  // does not overflow
  Allocate();
}

void KvCache::Allocate() {
  const std::size_t rows = FirstRow(shape_.layers, 0, 0, false);
  memory_ = Buffer<std::byte>::Zeros(rows * head_dim_ * element_bytes_);
  if (shape_.type == KvType::kInt8) scales_ = Buffer<float>::Zeros(rows);
}

void KvCache::Reserve(std::size_t capacity_tokens) {
  if (capacity_tokens <= shape_.capacity_tokens) return;
  const std::size_t old_tokens = std::exchange(shape_.capacity_tokens, capacity_tokens);
  const Buffer<std::byte> old_memory = std::move(memory_);
  const Buffer<float> old_scales = std::move(scales_);
  Allocate();
  const std::size_t row_bytes = head_dim_ * element_bytes_;
  for (std::size_t i = 0; i < 2 * shape_.layers * shape_.slots * kv_heads_; ++i) {
    std::copy_n(old_memory.data() + i * old_tokens * row_bytes, old_tokens * row_bytes,
                memory_.data() + i * capacity_tokens * row_bytes);
    if (shape_.type != KvType::kInt8) continue;
    std::copy_n(old_scales.data() + i * old_tokens, old_tokens,
                scales_.data() + i * capacity_tokens);
  }
}

void KvCache::Store(const Place& place, std::span<const float> keys,
                    std::span<const float> values) {
  AWQ_CHECK_LT(place.position, shape_.capacity_tokens);
  for (std::size_t head = 0; head < kv_heads_; ++head) {
    const std::size_t column = head * head_dim_;
    StoreRow(FirstRow(place.layer, place.slot, head, false) + place.position,
             keys.subspan(column, head_dim_));
    StoreRow(FirstRow(place.layer, place.slot, head, true) + place.position,
             values.subspan(column, head_dim_));
  }
}

void KvCache::StoreRow(std::size_t row, std::span<const float> values) {
  std::byte* const at = memory_.data() + row * head_dim_ * element_bytes_;
  const auto as = [&]<class T>(T) { return std::span(reinterpret_cast<T*>(at), head_dim_); };
  switch (shape_.type) {
    case KvType::kInt8:
      scales_[row] = Round(values, as(std::int8_t()));
      break;
    case KvType::kF16:
      Round(values, as(F16()));
      break;
    case KvType::kExact:
      if (precision_ == math::Precision::kBF16) {
        math::Convert(values, as(BF16()));
      } else {
        std::copy(values.begin(), values.end(), as(float()).begin());
      }
  }
}

NarrowRows KvCache::Narrow(std::size_t first_row) const {
  AWQ_CHECK(shape_.type != KvType::kExact);
  return {memory_.data() + first_row * head_dim_ * element_bytes_,
          shape_.type == KvType::kInt8 ? scales_.data() + first_row : nullptr, head_dim_};
}

}  // namespace awq::transformer
