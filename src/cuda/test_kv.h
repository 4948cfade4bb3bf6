// Pages of keys and values for the checks of what writes and reads them.
#pragma once

#include <algorithm>

#include "cuda/test_ops.h"

namespace awq::cuda {

struct KvShape {
  Element type = Element::kBF16;
  int kv_heads = 1;
  int shared = 1;  // query heads of a key head
  int head_dim = 64;

  int heads() const { return kv_heads * shared; }
};

// Sequences of given lengths, whose pages lie in the pool in no order. Rows that hold no token, and
// tables' entries of no page, are poison.
class TestPages {
 public:
  static constexpr int kLayers = 2;

  TestPages(const KvShape& shape, const std::vector<int>& lengths) : shape_(shape) {
    const int longest = *std::max_element(lengths.begin(), lengths.end());
    table_pages_ = (longest + kPageTokens - 1) / kPageTokens;
    tables_.assign(lengths.size() * static_cast<std::size_t>(table_pages_), 0x7fffffffU);
    std::vector<std::size_t> entries;
    for (std::size_t slot = 0; slot < lengths.size(); ++slot) {
      for (int at = 0; at < lengths[slot]; at += kPageTokens) {
        entries.push_back(slot * static_cast<std::size_t>(table_pages_) +
                          static_cast<std::size_t>(at / kPageTokens));
      }
    }
    std::shuffle(entries.begin(), entries.end(), std::mt19937(7));
    for (std::size_t page = 0; page < entries.size(); ++page) {
      tables_[entries[page]] = static_cast<std::uint32_t>(page);
    }
    count_ = entries.size() * kLayers * static_cast<std::size_t>(shape.kv_heads) * 2 * kPageTokens;
    bytes_.assign(count_ * RowBytes(), 0xff);
    scales_.assign(count_, NAN);
  }

  std::size_t RowBytes() const {
    return static_cast<std::size_t>(shape_.head_dim) * (shape_.type == Element::kInt8 ? 1 : 2);
  }
  std::size_t count() const { return count_; }  // of rows

  // As the comment of KvPages says it.
  std::size_t RowAt(int slot, int layer, int kv_head, bool is_value, int position) const {
    const auto entry = static_cast<std::size_t>(slot * table_pages_ + position / kPageTokens);
    std::size_t at = tables_[entry];
    at = at * kLayers + static_cast<std::size_t>(layer);
    at = at * static_cast<std::size_t>(shape_.kv_heads) + static_cast<std::size_t>(kv_head);
    at = at * 2 + (is_value ? 1 : 0);
    return at * kPageTokens + static_cast<std::size_t>(position % kPageTokens);
  }

  // What row `row` is, element by element.
  std::vector<float> Read(std::size_t row) const {
    std::vector<float> values;
    for (int i = 0; i < shape_.head_dim; ++i) {
      if (shape_.type == Element::kInt8) {
        const auto code =
            static_cast<std::int8_t>(bytes_[row * RowBytes() + static_cast<std::size_t>(i)]);
        values.push_back(static_cast<float>(code) * scales_[row]);
      } else {
        const std::size_t at = row * RowBytes() + 2 * static_cast<std::size_t>(i);
        const auto bits = static_cast<std::uint16_t>(bytes_[at] | bytes_[at + 1] << 8);
        values.push_back(Widened(bits, shape_.type));
      }
    }
    return values;
  }

  // Any values of about that size, as the type holds them.
  void Fill(std::size_t row, float deviation, unsigned seed) {
    const std::vector<float> values =
        RandomFloats(static_cast<std::size_t>(shape_.head_dim), deviation, seed);
    if (shape_.type == Element::kInt8) {
      scales_[row] = deviation / 40;
      for (std::size_t i = 0; i < values.size(); ++i) {
        const float code = std::clamp(std::rint(values[i] / scales_[row]), -127.0F, 127.0F);
        bytes_[row * RowBytes() + i] = static_cast<unsigned char>(static_cast<int>(code));
      }
      return;
    }
    const std::vector<std::uint16_t> bits = Rounded(values, shape_.type);
    for (std::size_t i = 0; i < bits.size(); ++i) {
      bytes_[row * RowBytes() + 2 * i] = static_cast<unsigned char>(bits[i] & 0xff);
      bytes_[row * RowBytes() + 2 * i + 1] = static_cast<unsigned char>(bits[i] >> 8);
    }
  }

  KvPages Place(OpsBackend& backend) {
    KvPages pages;
    pages.rows = backend.Place(bytes_);
    pages.scales = shape_.type == Element::kInt8 ? backend.Place(scales_) : nullptr;
    pages.type = shape_.type;
    pages.tables = backend.Place(tables_);
    pages.table_pages = table_pages_;
    pages.layers = kLayers;
    pages.kv_heads = shape_.kv_heads;
    pages.head_dim = shape_.head_dim;
    return pages;
  }
  void Fetch(OpsBackend& backend, const KvPages& pages) {
    bytes_ = backend.Fetch<unsigned char>(pages.rows, bytes_.size());
    if (pages.scales != nullptr) scales_ = backend.Fetch<float>(pages.scales, count_);
  }

  bool IsPoison(std::size_t row) const {
    const auto first = bytes_.begin() + static_cast<std::ptrdiff_t>(row * RowBytes());
    return std::all_of(first, first + static_cast<std::ptrdiff_t>(RowBytes()),
                       [](unsigned char byte) { return byte == 0xff; });
  }
  float scale(std::size_t row) const { return scales_[row]; }

 private:
  KvShape shape_;
  int table_pages_ = 0;
  std::size_t count_ = 0;
  std::vector<std::uint32_t> tables_;
  std::vector<unsigned char> bytes_;
  std::vector<float> scales_;
};

}  // namespace awq::cuda
