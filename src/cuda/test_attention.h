// Checks of attention against its definition, over keys and values as they are held.
#pragma once

#include "cuda/test_kv.h"

namespace awq::cuda {

struct AttentionCase {
  KvShape shape;
  int window = 0;
  Element out = Element::kBF16;
};

class AttentionCheck {
 public:
  static constexpr int kLayer = 1;

  // lengths: tokens that sequences have, by slot.
  AttentionCheck(const AttentionCase& is, const std::vector<int>& lengths)
      : is_(is),
        pages_(is.shape, lengths),
        dim_(static_cast<std::size_t>(is.shape.head_dim)),
        width_(static_cast<std::size_t>(is.shape.heads()) * dim_) {
    unsigned seed = 100;
    for (std::size_t slot = 0; slot < lengths.size(); ++slot) {
      for (int position = 0; position < lengths[slot]; ++position) {
        for (int head = 0; head < is.shape.kv_heads; ++head) {
          pages_.Fill(pages_.RowAt(static_cast<int>(slot), kLayer, head, false, position), 1,
                      ++seed);
          pages_.Fill(pages_.RowAt(static_cast<int>(slot), kLayer, head, true, position), 1,
                      ++seed);
        }
      }
    }
  }

  // Tokens by their places, each with all of its heads, in single rows.
  std::string Decode(OpsBackend& backend, const std::vector<std::int32_t>& positions,
                     const std::vector<std::int32_t>& slots,
                     const std::vector<std::int32_t>& rows) {
    queries_ = RandomFloats(positions.size() * width_, 1, 21);
    DecodeTask task;
    task.queries = backend.Place(queries_);
    task.stride = static_cast<std::int64_t>(width_);
    task.at = {backend.Place(positions), backend.Place(slots)};
    task.rows = rows.empty() ? nullptr : backend.Place(rows);
    task.tokens = static_cast<int>(rows.empty() ? positions.size() : rows.size());
    task.heads = is_.shape.heads();
    task.layer = kLayer;
    task.window = is_.window;
    task.most_keys = *std::max_element(positions.begin(), positions.end()) + 1;
    task.cache = pages_.Place(backend);
    task.parts = backend.Poisoned<float>(DecodeParts(task));
    task.out = {backend.Poisoned<std::uint16_t>(queries_.size()), is_.out};
    AWQ_EXPECT(MessageOf(backend.Run(task)));
    found_ = FetchActivations(backend, task.out, queries_.size());
    for (int i = 0; i < task.tokens; ++i) {
      const auto row =
          static_cast<std::size_t>(rows.empty() ? i : rows[static_cast<std::size_t>(i)]);
      AWQ_EXPECT(CheckToken(row, slots[row], positions[row], Element::kF32, 0));
    }
    return "";
  }

  std::string Prefill(OpsBackend& backend, const std::vector<Segment>& segments) {
    std::vector<Tile> tiles;
    int tokens = 0;
    for (const Segment& segment : segments) {
      const std::vector<Tile> more = TilesOf(segment, tokens, is_.shape.shared);
      tiles.insert(tiles.end(), more.begin(), more.end());
      tokens += segment.tokens;
    }
    queries_ = RandomFloats(static_cast<std::size_t>(tokens) * width_, 1, 22);
    PrefillTask task;
    task.queries = backend.Place(queries_);
    task.stride = static_cast<std::int64_t>(width_);
    task.tiles = backend.Place(tiles);
    task.tile_count = static_cast<int>(tiles.size());
    task.heads = is_.shape.heads();
    task.layer = kLayer;
    task.window = is_.window;
    task.cache = pages_.Place(backend);
    task.out = {backend.Poisoned<std::uint16_t>(queries_.size()), is_.out};
    AWQ_EXPECT(MessageOf(backend.Run(task)));
    found_ = FetchActivations(backend, task.out, queries_.size());
    const Element queries = is_.shape.type == Element::kBF16 ? Element::kBF16 : Element::kF16;
    const Element weights = is_.shape.type == Element::kF16 ? Element::kF16 : Element::kBF16;
    std::size_t row = 0;
    for (const Segment& segment : segments) {
      for (int t = 0; t < segment.tokens; ++t) {
        AWQ_EXPECT(CheckToken(row++, segment.slot, segment.position + t, queries, UnitOf(weights)));
      }
    }
    return "";
  }

  const std::vector<float>& found() const { return found_; }

 private:
  // queries: what they are rounded to before they are multiplied. weight_unit: of one rounding of
  // the weights.
  std::string CheckToken(std::size_t row, int slot, int position, Element queries,
                         double weight_unit) const {
    for (int head = 0; head < is_.shape.heads(); ++head) {
      AWQ_EXPECT(CheckHead(row, {slot, position, head, queries}, weight_unit));
    }
    return "";
  }

  struct Query {
    int slot;
    int position;
    int head;
    Element type;
  };

  std::string CheckHead(std::size_t row, const Query& query, double weight_unit) const {
    const std::size_t column = row * width_ + static_cast<std::size_t>(query.head) * dim_;
    const int kv_head = query.head / is_.shape.shared;
    const int first = is_.window == 0 ? 0 : std::max(0, query.position + 1 - is_.window);
    std::vector<double> scores;
    double size = 0;  // largest sum of the magnitudes that a score adds up
    for (int key = first; key <= query.position; ++key) {
      const std::vector<float> k =
          pages_.Read(pages_.RowAt(query.slot, kLayer, kv_head, false, key));
      double score = 0, magnitude = 0;
      for (std::size_t i = 0; i < dim_; ++i) {
        float q = queries_[column + i];
        if (query.type != Element::kF32) q = Widened(Rounded({q}, query.type)[0], query.type);
        score += static_cast<double>(q) * static_cast<double>(k[i]);
        magnitude += std::abs(static_cast<double>(q) * static_cast<double>(k[i]));
      }
      scores.push_back(score / std::sqrt(static_cast<double>(dim_)));
      size = std::max(size, magnitude / std::sqrt(static_cast<double>(dim_)));
    }
    const double largest = *std::max_element(scores.begin(), scores.end());
    std::vector<double> expected(dim_, 0);
    double sum = 0, most = 0;  // the largest value
    for (std::size_t i = 0; i < scores.size(); ++i) {
      const double weight = std::exp(scores[i] - largest);
      const int key = first + static_cast<int>(i);
      const std::vector<float> v =
          pages_.Read(pages_.RowAt(query.slot, kLayer, kv_head, true, key));
      for (std::size_t j = 0; j < dim_; ++j) {
        expected[j] += weight * static_cast<double>(v[j]);
        most = std::max(most, std::abs(static_cast<double>(v[j])));
      }
      sum += weight;
    }
    for (double& each : expected) each /= sum;
    // A score's roundings and those of its exponent move a weight, exp is within 4, sums of as many
    // keys follow; all of it in the sum of values and in the divisor.
    const double keys = static_cast<double>(scores.size());
    const double fp32 = 2 * ((static_cast<double>(dim_) + 5) * size + 4 + keys) * kUnit;
    const auto from = found_.begin() + static_cast<std::ptrdiff_t>(column);
    return Compare("output", {from, from + static_cast<std::ptrdiff_t>(dim_)}, expected,
                   [&](std::size_t i) {
                     return most * (fp32 + weight_unit) + std::abs(expected[i]) * UnitOf(is_.out) +
                            SmallestOf(is_.out);
                   });
  }

  AttentionCase is_;
  TestPages pages_;
  std::size_t dim_;
  std::size_t width_;  // of a row of queries
  std::vector<float> queries_, found_;
};

inline std::string CheckDecode(OpsBackend& backend, const AttentionCase& is) {
  // One key, a full page, one more, several pages.
  return AttentionCheck(is, {1, 128, 129, 300})
      .Decode(backend, {0, 127, 128, 299}, {0, 1, 2, 3}, {});
}

inline std::string CheckPrefill(OpsBackend& backend, const AttentionCase& is) {
  // From the middle of a page on, into the next; a single token; after other tokens.
  return AttentionCheck(is, {141, 1, 215}).Prefill(backend, {{31, 110, 0}, {1, 0, 1}, {9, 206, 2}});
}

// However a sequence is cut, its tokens get the same bits.
inline std::string CheckCuts(OpsBackend& backend, const AttentionCase& is) {
  AttentionCheck whole(is, {140}), cut(is, {140});
  AWQ_EXPECT(whole.Prefill(backend, {{60, 80, 0}}));
  AWQ_EXPECT(cut.Prefill(backend, {{13, 80, 0}, {47, 93, 0}}));
  return whole.found() == cut.found() ? "" : "other bits where a sequence is cut";
}

// Parts that never ran, and rows that are not asked for, stay as they are.
inline std::string CheckDecodeOfSome(OpsBackend& backend) {
  const KvShape shape{Element::kBF16, 2, 2, 64};
  AttentionCheck check({shape, 40}, {10, 170, 140});
  AWQ_EXPECT(check.Decode(backend, {9, 169, 139}, {0, 1, 2}, {2, 0}));
  const std::size_t width = static_cast<std::size_t>(shape.heads()) * 64;
  for (std::size_t i = width; i < 2 * width; ++i) {
    if (check.found()[i] == check.found()[i]) return "a row was written that nobody asked for";
  }
  return "";
}

inline std::vector<OpsRow> AttentionRows() {
  std::vector<OpsRow> rows;
  const auto decode = [&](const std::string& name, const AttentionCase& is) {
    rows.push_back(
        {"decode_" + name, [=](OpsBackend& backend) { return CheckDecode(backend, is); }});
  };
  decode("bf16_64_1", {{Element::kBF16, 2, 1, 64}});
  decode("f16_80_2_window", {{Element::kF16, 1, 2, 80}, 100, Element::kF16});
  decode("bf16_96_4", {{Element::kBF16, 1, 4, 96}});
  decode("int8_128_8", {{Element::kInt8, 1, 8, 128}});
  decode("bf16_128_7_window", {{Element::kBF16, 1, 7, 128}, 129});
  decode("f16_256_1", {{Element::kF16, 1, 1, 256}});
  decode("int8_256_3_window", {{Element::kInt8, 1, 3, 256}, 1});
  decode("bf16_72_12", {{Element::kBF16, 1, 12, 72}});
  decode("int8_8_1", {{Element::kInt8, 3, 1, 8}});
  rows.push_back({"decode_of_some", CheckDecodeOfSome});

  const auto prefill = [&](const std::string& name, const AttentionCase& is) {
    rows.push_back(
        {"prefill_" + name, [=](OpsBackend& backend) { return CheckPrefill(backend, is); }});
  };
  prefill("bf16_64_1", {{Element::kBF16, 2, 1, 64}});
  prefill("f16_80_4_window", {{Element::kF16, 1, 4, 80}, 50, Element::kF16});
  prefill("bf16_96_8", {{Element::kBF16, 1, 8, 96}});
  prefill("f16_128_1", {{Element::kF16, 1, 1, 128}});
  prefill("int8_128_7", {{Element::kInt8, 1, 7, 128}});
  prefill("bf16_256_2_window", {{Element::kBF16, 1, 2, 256}, 64});
  prefill("int8_256_1", {{Element::kInt8, 1, 1, 256}, 0, Element::kF16});
  prefill("bf16_72_3", {{Element::kBF16, 1, 3, 72}});
  prefill("f16_24_1_window", {{Element::kF16, 1, 1, 24}, 7});
  for (const int window : {0, 33}) {
    rows.push_back({"prefill_cut_window_" + std::to_string(window), [=](OpsBackend& backend) {
                      return CheckCuts(backend, {{Element::kBF16, 1, 4, 64}, window});
                    }});
  }
  return rows;
}

}  // namespace awq::cuda
