#include "transformer/gpu/pages.h"

#include "base/error.h"
#include "cuda/copy.h"

namespace awq::transformer::gpu {

std::size_t SizeOf(cuda::Element type) {
  switch (type) {
    case cuda::Element::kF32:
      return 4;
    case cuda::Element::kInt8:
      return 1;
    case cuda::Element::kF16:
    case cuda::Element::kBF16:
      break;
  }
  return 2;
}

Pages::Pages(Context& context, const model::ModelConfig& config, const CacheShape& shape,
             cuda::Element type)
    : context_(context), type_(type), pages_(shape.pages) {
  AWQ_CHECK_EQ(shape.page_tokens, std::size_t{cuda::kPageTokens});
  shape_.type = type;
  shape_.layers = static_cast<int>(shape.layers);
  shape_.kv_heads = static_cast<int>(config.num_key_value_heads);
  shape_.head_dim = static_cast<int>(config.head_dim);
  const std::size_t rows = 2 * shape.layers * config.num_key_value_heads * shape.page_tokens;
  page_row_bytes_ = rows * config.head_dim * SizeOf(type);
  page_scale_bytes_ = type == cuda::Element::kInt8 ? rows * sizeof(float) : 0;
}

Status Pages::Prepare() {
  if (rows_.data() != nullptr) return context_.status();
  context_.Do([&] { return rows_.Allocate(pages_ * page_row_bytes_); });
  if (page_scale_bytes_ > 0) {
    context_.Do([&] { return scales_.Allocate(pages_ * page_scale_bytes_); });
  }
  return context_.status();
}

Pages::Place Pages::At(PageId page) const {
  return {rows_.data<std::byte>() + page * page_row_bytes_,
          scales_.data<std::byte>() + page * page_scale_bytes_};
}

// A masked key adds nothing only where what is there is finite.
void Pages::Clear(PageId page) {
  const Place at = At(page);
  context_.Do([&] { return cuda::FillBytes(at.rows, 0, page_row_bytes_, context_.stream()); });
  if (page_scale_bytes_ == 0) return;
  context_.Do([&] { return cuda::FillBytes(at.scales, 0, page_scale_bytes_, context_.stream()); });
}

// All of it, in one go: what comes after `tokens` is written before it is seen.
void Pages::Copy(PageId from, PageId to, std::size_t) {
  const Place source = At(from);
  const Place target = At(to);
  context_.Do([&] {
    return cuda::CopyOnDevice(target.rows, source.rows, page_row_bytes_, context_.stream());
  });
  if (page_scale_bytes_ == 0) return;
  context_.Do([&] {
    return cuda::CopyOnDevice(target.scales, source.scales, page_scale_bytes_, context_.stream());
  });
}

cuda::KvPages Pages::view() const {
  cuda::KvPages view = shape_;
  view.rows = rows_.data();
  view.scales = scales_.data<float>();
  return view;
}

}  // namespace awq::transformer::gpu
