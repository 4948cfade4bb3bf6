// Pages of keys and values on the GPU, in one piece of memory.
#pragma once

#include <cstddef>

#include "model/config.h"
#include "transformer/gpu/context.h"
#include "transformer/kv_cache.h"

namespace awq::transformer::gpu {

class Pages final : public PageStore {
 public:
  // `shape` has pages of cuda::kPageTokens. The context must outlive it.
  Pages(Context& context, const model::ModelConfig& config, const CacheShape& shape,
        cuda::Element type);

  Status Prepare() override;
  void Clear(PageId page) override;
  void Copy(PageId from, PageId to, std::size_t tokens) override;

  // Without tables.
  cuda::KvPages view() const;
  cuda::Element type() const { return type_; }

 private:
  struct Place {
    std::byte* rows;
    std::byte* scales;
  };
  Place At(PageId page) const;

  Context& context_;
  cuda::KvPages shape_;
  cuda::Element type_;
  std::size_t pages_;
  std::size_t page_row_bytes_;
  std::size_t page_scale_bytes_;  // 0 but for kInt8
  cuda::DeviceMemory rows_;
  cuda::DeviceMemory scales_;
};

// Bytes of one element.
std::size_t SizeOf(cuda::Element type);

}  // namespace awq::transformer::gpu
