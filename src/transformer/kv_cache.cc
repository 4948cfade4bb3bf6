#include "transformer/kv_cache.h"

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

}  // namespace awq::transformer
