// Keys (rotated) and values of past tokens: a pool of pages, of which each sequence has a table.
// Sequences may share pages; what is written is then copied first.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "math/matmul.h"
#include "model/config.h"
#include "tensor/tensor.h"
#include "transformer/batch.h"
#include "transformer/kv_rows.h"

namespace awq::transformer {

// What keys and values are held in.
enum class KvType : unsigned char {
  kExact,  // what the arithmetic computes with: fp32 or bf16
  kF16,    // what is beyond its range as its largest
  kInt8,   // with an fp32 scale for each token's row of a key head, max |x| / 127
};

// Of sequences that grow; where all have one length, they may be a page each.
inline constexpr std::size_t kPageTokens = 128;

struct CacheShape {
  std::size_t layers = 1;
  std::size_t slots = 1;            // sequences
  std::size_t capacity_tokens = 0;  // of each, at most
  KvType type = KvType::kExact;
  std::size_t pages = 0;  // of all together, at most; 0: as many as they can fill
  std::size_t page_tokens = kPageTokens;
};

using PageId = std::uint32_t;

// Where the rows of pages lie, if not in the host's memory.
class PageStore {
 public:
  virtual ~PageStore() = default;
  // Before the first page is taken. Error: no memory for all that there can be.
  virtual Status Prepare() = 0;
  virtual void Clear(PageId page) = 0;
  // The first tokens of each head.
  virtual void Copy(PageId from, PageId to, std::size_t tokens) = 0;
};

// Thread contract: tokens may be stored, and rows read, by many threads; all else by one alone.
class KvCache {
 public:
  KvCache(const model::ModelConfig& config, math::Precision precision, const CacheShape& shape,
          std::unique_ptr<PageStore> store = nullptr);

  // Of all pages that there can be. A page takes memory from its first use on.
  static std::size_t Bytes(const model::ModelConfig& config, math::Precision precision,
                           const CacheShape& shape);
  // Of one token in one layer.
  static std::size_t TokenBytes(const model::ModelConfig& config, math::Precision precision,
                                KvType type);

  // With what is left open filled in.
  const CacheShape& shape() const { return shape_; }
  math::Precision precision() const { return precision_; }
  KvElement element() const { return element_; }
  std::size_t pages_in_use() const { return in_use_; }
  std::size_t page_bytes() const;

  // The store's, where there is one: so that its error comes before the first token.
  Status Prepare() { return store_ ? store_->Prepare() : Status(); }
  // Pages for the tokens that will be stored, none of them shared: copied where they were, up to
  // the first such token. To be called before they are. Error: too few are left, or the store's;
  // nothing has changed then.
  Status Reserve(const Segment& segment);
  Status Reserve(const Batch& batch);  // those before the one that fails have theirs
  // Pages that Reserve would lack if these other slots had none; 0: it would have all.
  std::size_t MissingPages(const Segment& segment, std::span<const std::size_t> gone_slots) const;
  // `slot`, which has no pages, begins with the first tokens of another.
  void Share(std::size_t from_slot, std::size_t slot, std::size_t tokens);
  // Keeps that many first tokens of a slot.
  void Truncate(std::size_t slot, std::size_t tokens);

  // Null: in the host's memory, as all that follows demands.
  PageStore* store() const { return store_.get(); }
  // The pages of a slot, in order.
  std::span<const PageId> table(std::size_t slot) const { return tables_[slot]; }

  struct Place {
    std::size_t layer = 0;
    std::size_t slot = 0;
    std::size_t position = 0;
  };
  // Rows [kv_width] of one token, rounded to what the cache holds.
  void Store(const Place& place, std::span<const float> keys, std::span<const float> values);

  struct Head {
    std::size_t layer = 0;
    std::size_t slot = 0;
    std::size_t kv_head = 0;
  };
  // The rows from a position on, to the end of its page. What was never written is zero, so that
  // a masked key adds exactly nothing.
  KvRows Keys(const Head& head, std::size_t position) const { return Rows(head, position, false); }
  KvRows Values(const Head& head, std::size_t position) const { return Rows(head, position, true); }

 private:
  struct Page {
    Buffer<std::byte> rows;  // see FirstRow
    Buffer<float> scales;    // by row; of kInt8 only
    std::size_t references = 0;
  };

  // That Reserve takes: those that are not there, and copies of those with several references.
  template <class References>
  std::size_t WantedPages(const Segment& segment, const References& references) const;
  std::size_t PagesFor(std::size_t tokens) const { return CeilDiv(tokens, shape_.page_tokens); }
  std::size_t page_rows() const { return 2 * shape_.layers * kv_heads_ * shape_.page_tokens; }
  // Rows are those of one head's keys, then of its values, head after head, layer after layer.
  std::size_t FirstRow(std::size_t layer, std::size_t kv_head, bool is_value) const {
    return (2 * (layer * kv_heads_ + kv_head) + (is_value ? 1 : 0)) * shape_.page_tokens;
  }
  KvRows Rows(const Head& head, std::size_t position, bool is_value) const;
  void StoreRow(Page& page, std::size_t row, std::span<const float> values);
  PageId Take();
  void Clear(PageId id);
  void Drop(PageId page);
  // A page with the first rows of another's heads.
  PageId Copy(PageId from, std::size_t tokens);

  CacheShape shape_;
  std::unique_ptr<PageStore> store_;
  math::Precision precision_;
  KvElement element_;
  std::size_t kv_heads_;
  std::size_t head_dim_;
  std::size_t row_bytes_;  // without the scale
  std::vector<Page> pages_;
  std::vector<PageId> free_;  // of pages_
  std::size_t in_use_ = 0;
  std::vector<std::vector<PageId>> tables_;  // by slot
};

}  // namespace awq::transformer
