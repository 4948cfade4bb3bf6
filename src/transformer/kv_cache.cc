#include "transformer/kv_cache.h"

#include <algorithm>
#include <utility>

namespace awq::transformer {

std::size_t KvCache::Bytes(const model::ModelConfig& config, math::Precision precision,
                           const CacheShape& shape) {
  const std::size_t element_bytes = precision == math::Precision::kBF16 ? 2 : 4;
  const auto bytes = CheckedProduct(
      {2, shape.layers, shape.slots, shape.capacity_tokens, config.kv_width(), element_bytes});
  if (!bytes) throw std::bad_alloc();
  return *bytes;
}

KvCache::KvCache(const model::ModelConfig& config, math::Precision precision,
                 const CacheShape& shape)
    : shape_(shape),
      precision_(precision),
      kv_width_(config.kv_width()),
      memory_(Buffer<std::byte>::Zeros(Bytes(config, precision, shape))) {}

std::size_t KvCache::RowBytes() const {
  return kv_width_ * (precision_ == math::Precision::kBF16 ? 2 : 4);
}

void KvCache::Reserve(std::size_t capacity_tokens) {
  if (capacity_tokens <= shape_.capacity_tokens) return;
  const std::size_t views = 2 * shape_.layers * shape_.slots;
  const std::size_t old_bytes = shape_.capacity_tokens * RowBytes();
  auto larger = Buffer<std::byte>::Zeros(views * capacity_tokens * RowBytes());
  for (std::size_t i = 0; i < views; ++i) {
    std::copy_n(memory_.data() + i * old_bytes, old_bytes,
                larger.data() + i * capacity_tokens * RowBytes());
  }
  memory_ = std::move(larger);
  shape_.capacity_tokens = capacity_tokens;
}

}  // namespace awq::transformer
