#include "transformer/kv_cache.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "base/error.h"
#include "math/vector.h"

namespace awq::transformer {
namespace {

KvElement ElementOf(KvType type, math::Precision precision) {
  switch (type) {
    case KvType::kInt8:
      return KvElement::kInt8;
    case KvType::kF16:
      return KvElement::kF16;
    case KvType::kExact:
      break;
  }
  return precision == math::Precision::kBF16 ? KvElement::kBF16 : KvElement::kF32;
}

CacheShape Completed(CacheShape shape) {
  shape.page_tokens = std::max<std::size_t>(1, std::min(shape.capacity_tokens, shape.page_tokens));
  const auto all = CheckedProduct({shape.slots, CeilDiv(shape.capacity_tokens, shape.page_tokens)});
  if (!all) throw std::bad_alloc();
  if (shape.pages == 0) shape.pages = *all;
  return shape;
}

}  // namespace

std::size_t KvCache::TokenBytes(const model::ModelConfig& config, math::Precision precision,
                                KvType type) {
  const std::size_t scale_bytes = type == KvType::kInt8 ? sizeof(float) : 0;
  const auto bytes =
      CheckedProduct({2, config.num_key_value_heads,
                      config.head_dim * ElementBytes(ElementOf(type, precision)) + scale_bytes});
  if (!bytes) throw std::bad_alloc();
  return *bytes;
}

std::size_t KvCache::Bytes(const model::ModelConfig& config, math::Precision precision,
                           const CacheShape& shape) {
  const CacheShape whole = Completed(shape);
  const auto bytes = CheckedProduct(
      {whole.pages, whole.page_tokens, whole.layers, TokenBytes(config, precision, whole.type)});
  if (!bytes) throw std::bad_alloc();
  return *bytes;
}

KvCache::KvCache(const model::ModelConfig& config, math::Precision precision,
                 const CacheShape& shape, std::unique_ptr<PageStore> store)
    : shape_(Completed(shape)),
      store_(std::move(store)),
      precision_(precision),
      element_(ElementOf(shape.type, precision)),
      kv_heads_(config.num_key_value_heads),
      head_dim_(config.head_dim),
      row_bytes_(head_dim_ * ElementBytes(element_)),
      tables_(shape_.slots) {
  (void)Bytes(config, precision, shape);  // does not overflow
  AWQ_CHECK_LE(shape_.pages, std::size_t{UINT32_MAX});
}

std::size_t KvCache::page_bytes() const {
  return page_rows() * (row_bytes_ + (element_ == KvElement::kInt8 ? sizeof(float) : 0));
}

PageId KvCache::Take() {
  AWQ_CHECK_LT(in_use_, shape_.pages);
  PageId id = 0;
  if (free_.empty()) {
    pages_.emplace_back();
    id = static_cast<PageId>(pages_.size() - 1);
  } else {
    id = free_.back();
    free_.pop_back();
  }
  Clear(id);
  pages_[id].references = 1;
  ++in_use_;
  return id;
}

void KvCache::Clear(PageId id) {
  Page& page = pages_[id];
  if (store_) return store_->Clear(id);
  if (page.rows.size() > 0) {
    std::ranges::fill(page.rows, std::byte{});
    std::ranges::fill(page.scales, 0.0F);
    return;
  }
  page.rows = Buffer<std::byte>::Zeros(page_rows() * row_bytes_);
  if (element_ == KvElement::kInt8) page.scales = Buffer<float>::Zeros(page_rows());
}

void KvCache::Drop(PageId page) {
  if (--pages_[page].references > 0) return;
  free_.push_back(page);
  --in_use_;
}

PageId KvCache::Copy(PageId from, std::size_t tokens) {
  const PageId id = Take();
  if (store_) {
    store_->Copy(from, id, tokens);
    return id;
  }
  const Page& source = pages_[from];
  Page& to = pages_[id];
  for (std::size_t row = 0; row < page_rows(); row += shape_.page_tokens) {
    std::copy_n(source.rows.data() + row * row_bytes_, tokens * row_bytes_,
                to.rows.data() + row * row_bytes_);
    if (element_ != KvElement::kInt8) continue;
    std::copy_n(source.scales.data() + row, tokens, to.scales.data() + row);
  }
  return id;
}

template <class References>
std::size_t KvCache::WantedPages(const Segment& segment, const References& references) const {
  if (segment.tokens == 0) return 0;
  const std::vector<PageId>& table = tables_[segment.slot];
  const std::size_t first = segment.position / shape_.page_tokens;
  const std::size_t count = PagesFor(segment.position + segment.tokens);
  const std::size_t there = std::min(count, table.size());
  std::size_t wanted = count - there;
  for (std::size_t i = first; i < there; ++i) {
    if (references(table[i]) > 1) ++wanted;
  }
  return wanted;
}

std::size_t KvCache::MissingPages(const Segment& segment,
                                  std::span<const std::size_t> gone_slots) const {
  std::unordered_map<PageId, std::size_t> gone;  // references
  for (const std::size_t slot : gone_slots) {
    AWQ_CHECK(slot != segment.slot);
    for (const PageId page : tables_[slot]) ++gone[page];
  }
  const auto freed = std::ranges::count_if(
      gone, [&](const auto& each) { return pages_[each.first].references == each.second; });
  const std::size_t free = shape_.pages - in_use_ + static_cast<std::size_t>(freed);
  const std::size_t wanted = WantedPages(segment, [&](PageId page) {
    const auto found = gone.find(page);
    return pages_[page].references - (found == gone.end() ? 0 : found->second);
  });
  return wanted - std::min(wanted, free);
}

Status KvCache::Reserve(const Segment& segment) {
  const std::size_t end = segment.position + segment.tokens;
  AWQ_CHECK_LT(segment.slot, shape_.slots);
  AWQ_CHECK_LE(end, shape_.capacity_tokens);
  if (segment.tokens == 0) return {};
  std::vector<PageId>& table = tables_[segment.slot];
  const std::size_t first = segment.position / shape_.page_tokens;
  const std::size_t count = PagesFor(end);
  AWQ_CHECK_LE(first, table.size());  // what comes before is there
  const std::size_t wanted =
      WantedPages(segment, [&](PageId page) { return pages_[page].references; });
  if (wanted > shape_.pages - in_use_) {
    return MakeError(ErrorCode::kOutOfMemory,
                     "the cache of keys and values: {} tokens of a sequence need {} more of its {} "
                     "pages of {} tokens, and {} are free; run fewer sequences, or shorter ones",
                     end, wanted, shape_.pages, shape_.page_tokens, shape_.pages - in_use_);
  }
  if (wanted > 0) AWQ_TRY(Prepare());
  for (std::size_t i = first; i < std::min(count, table.size()); ++i) {
    if (pages_[table[i]].references == 1) continue;
    const std::size_t start = i * shape_.page_tokens;
    const PageId copy = Copy(table[i], std::max(segment.position, start) - start);
    Drop(table[i]);
    table[i] = copy;
  }
  while (table.size() < count) table.push_back(Take());
  return {};
}

Status KvCache::Reserve(const Batch& batch) {
  for (const Segment& segment : batch) AWQ_TRY(Reserve(segment));
  return {};
}

void KvCache::Share(std::size_t from_slot, std::size_t slot, std::size_t tokens) {
  AWQ_CHECK(tables_[slot].empty());
  const std::vector<PageId>& from = tables_[from_slot];
  AWQ_CHECK_LE(PagesFor(tokens), from.size());
  tables_[slot].assign(from.begin(), from.begin() + static_cast<std::ptrdiff_t>(PagesFor(tokens)));
  for (const PageId page : tables_[slot]) ++pages_[page].references;
}

void KvCache::Truncate(std::size_t slot, std::size_t tokens) {
  std::vector<PageId>& table = tables_[slot];
  for (; table.size() > PagesFor(tokens); table.pop_back()) Drop(table.back());
}

void KvCache::Store(const Place& place, std::span<const float> keys,
                    std::span<const float> values) {
  AWQ_CHECK(!store_);
  const std::size_t index = place.position / shape_.page_tokens;
  AWQ_CHECK_LT(index, tables_[place.slot].size());
  Page& page = pages_[tables_[place.slot][index]];
  const std::size_t row = place.position % shape_.page_tokens;
  for (std::size_t head = 0; head < kv_heads_; ++head) {
    const std::size_t column = head * head_dim_;
    StoreRow(page, FirstRow(place.layer, head, false) + row, keys.subspan(column, head_dim_));
    StoreRow(page, FirstRow(place.layer, head, true) + row, values.subspan(column, head_dim_));
  }
}

void KvCache::StoreRow(Page& page, std::size_t row, std::span<const float> values) {
  const auto as = [&]<class T>(T) {
    return std::span(reinterpret_cast<T*>(page.rows.data() + row * row_bytes_), head_dim_);
  };
  switch (element_) {
    case KvElement::kInt8:
      page.scales[row] = Round(values, as(std::int8_t()));
      break;
    case KvElement::kF16:
      Round(values, as(F16()));
      break;
    case KvElement::kBF16:
      math::Convert(values, as(BF16()));
      break;
    case KvElement::kF32:
      std::copy(values.begin(), values.end(), as(float()).begin());
  }
}

KvRows KvCache::Rows(const Head& head, std::size_t position, bool is_value) const {
  AWQ_CHECK(!store_);
  const std::vector<PageId>& table = tables_[head.slot];
  AWQ_CHECK_LT(position / shape_.page_tokens, table.size());
  const Page& page = pages_[table[position / shape_.page_tokens]];
  const std::size_t row =
      FirstRow(head.layer, head.kv_head, is_value) + position % shape_.page_tokens;
  return {page.rows.data() + row * row_bytes_,
          element_ == KvElement::kInt8 ? page.scales.data() + row : nullptr, head_dim_, element_};
}

}  // namespace awq::transformer
