#include "transformer/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "math/matmul.h"
#include "math/vector.h"

namespace awq::transformer {
namespace {

constexpr std::size_t kSpanTokens = 512;
// Queries of a tile, at most: all heads that share a key head, of some tokens.
constexpr std::size_t kTileRows = 256;
// Key ranges are widened to this multiple, so that few different products are prepared.
constexpr std::size_t kKeyStep = 32;

struct Range {
  std::size_t first = 0;
  std::size_t last = 0;  // exclusive

  std::size_t count() const { return last - first; }
  bool empty() const { return last <= first; }
};

Range Both(const Range& a, const Range& b) {
  return {std::max(a.first, b.first), std::min(a.last, b.last)};
}

Range VisibleTo(std::size_t position, std::size_t window) {
  return {window != 0 && position + 1 > window ? position + 1 - window : 0, position + 1};
}

// Queries of consecutive tokens against one key head. Its rows are the heads that share it, token
// after token.
struct Tile {
  std::size_t slot = 0;
  std::size_t kv_head = 0;
  std::size_t first_row = 0;  // of `queries` and `out`
  std::size_t tokens = 0;
  std::size_t position = 0;  // of the first token
  Range seen = {};           // keys that some token sees
};

// One tile, or one span of one that has a single token.
struct Task {
  std::size_t tile = 0;
  Range keys = {};
  std::size_t part = SIZE_MAX;  // of the sums that are put together afterwards; or none
};

struct Plan {
  std::vector<Tile> tiles;
  std::vector<Task> tasks;
  // Tiles of several parts, with their first.
  std::vector<std::pair<std::size_t, Range>> merges;
  std::size_t parts = 0;
};

// use(keys) for each span that has some of them. Spans begin at multiples of their length, so that
// a key is in the same one whatever the sequence was cut into.
template <class Use>
void ForSpans(const Range& keys, Use use) {
  for (std::size_t at = keys.first; at < keys.last;) {
    const std::size_t next = std::min((at / kSpanTokens + 1) * kSpanTokens, keys.last);
    use(Range{at, next});
    at = next;
  }
}

void AddTile(const Tile& tile, Plan& plan) {
  const std::size_t index = plan.tiles.size();
  plan.tiles.push_back(tile);
  const bool is_cut =
      tile.tokens == 1 && tile.seen.first / kSpanTokens != (tile.seen.last - 1) / kSpanTokens;
  if (!is_cut) {
    plan.tasks.push_back({index, tile.seen});
    return;
  }
  const std::size_t first = plan.parts;
  ForSpans(tile.seen, [&](const Range& keys) {
    plan.tasks.push_back({index, keys, plan.parts++});
  });
  plan.merges.push_back({index, {first, plan.parts}});
}

// Tiles, too, begin at multiples of a number of tokens. Those that see most come first.
Plan MakePlan(const AttentionLayer& layer, const Batch& batch, std::size_t shared) {
  const std::size_t tile_tokens = std::max<std::size_t>(1, kTileRows / shared);
  Plan plan;
  std::size_t row = 0;
  for (const Segment& segment : batch) {
    const std::size_t end = segment.position + segment.tokens;
    for (std::size_t last = end; last > segment.position;) {
      const std::size_t first = std::max((last - 1) / tile_tokens * tile_tokens, segment.position);
      const Range seen{VisibleTo(first, layer.window).first, last};
      for (std::size_t kv = 0; kv < layer.config->num_key_value_heads; ++kv) {
        AddTile({segment.slot, kv, row + first - segment.position, last - first, first, seen},
                plan);
      }
      last = first;
    }
    row += segment.tokens;
  }
  return plan;
}

// Of each row, over some of the keys that it sees.
struct Sums {
  MatrixView<float> values;   // [rows, head_dim], weighted
  MatrixView<float> weights;  // [rows, 1]: exp(scale * (score - largest))
  MatrixView<float> largest;  // [rows, 1], of the scores; -infinity where it sees none
};

template <class T>
MatrixView<T> Take(Buffer<std::byte>& memory, std::size_t rows, std::size_t cols) {
  const std::size_t bytes = rows * cols * sizeof(T);
  if (memory.size() < bytes) memory = Buffer<std::byte>(bytes);
  return {reinterpret_cast<T*>(memory.data()), rows, cols};
}

Sums SumsAt(float* at, std::size_t rows, std::size_t head_dim) {
  return {
      {at, rows, head_dim}, {at + rows * head_dim, rows, 1}, {at + rows * (head_dim + 1), rows, 1}};
}
std::size_t SumsSize(std::size_t rows, std::size_t head_dim) { return rows * (head_dim + 2); }

void Merge(float scale, const Sums& from, const Sums& to) {
  for (std::size_t r = 0; r < to.values.rows; ++r) {
    const std::span<float> added(from.values.row(r), from.values.cols);
    const std::span<float> total(to.values.row(r), to.values.cols);
    float factors[2] = {to.largest(r, 0), from.largest(r, 0)};
    if (factors[1] == -std::numeric_limits<float>::infinity()) continue;
    to.largest(r, 0) = math::Max(factors);
    (void)math::ExpSum(factors, scale, to.largest(r, 0));
    math::Multiply(total, factors[0]);
    math::Multiply(added, factors[1]);
    math::Add(added, total);
    to.weights(r, 0) = to.weights(r, 0) * factors[0] + from.weights(r, 0) * factors[1];
  }
}

template <class T>
void Copy(std::span<const float> from, std::span<T> to) {
  if constexpr (std::is_same_v<T, BF16>) {
    math::Convert(from, to);
  } else {
    std::copy(from.begin(), from.end(), to.begin());
  }
}

template <class T>
constexpr KvElement kElement = std::is_same_v<T, BF16> ? KvElement::kBF16 : KvElement::kF32;

// A tile and what it reads. T: what products of many queries are computed in.
template <class T>
class TileRunner {
 public:
  TileRunner(const AttentionLayer& layer, const KvCache& cache, const Tile& tile,
             MatrixView<const float> queries, Attention::Scratch& scratch)
      : layer_(layer),
        cache_(cache),
        tile_(tile),
        shared_(layer.config->num_attention_heads / layer.config->num_key_value_heads),
        head_dim_(layer.config->head_dim),
        scale_(1.0F / std::sqrt(static_cast<float>(head_dim_))),
        rows_(tile.tokens * shared_),
        scratch_(scratch),
        first_query_(queries.row(tile.first_row) + FirstColumn()),
        as_held_(tile.tokens == 1) {
    if (as_held_) return;
    many_ = Take<T>(scratch.queries, rows_, head_dim_);
    const std::size_t width = shared_ * head_dim_;
    for (std::size_t t = 0; t < tile.tokens; ++t) {
      Copy(std::span(first_query_ + t * queries.stride, width),
           std::span(many_.row(t * shared_), width));
    }
  }

  // All that the tile sees -> out.
  void Run(MatrixView<float> out) {
    const std::size_t size = SumsSize(rows_, head_dim_);
    float* const memory = Take<float>(scratch_.sums, 2, size).data;
    const Sums total = SumsAt(memory, rows_, head_dim_);
    const Sums part = SumsAt(memory + size, rows_, head_dim_);
    bool is_first = true;
    ForSpans(tile_.seen, [&](const Range& keys) {
      RunSpan(keys, is_first ? total : part);
      if (!is_first) Merge(scale_, part, total);
      is_first = false;
    });
    Finish(total, out);
  }

  // Parts, the first of which becomes the sum of all -> out.
  void Join(float* parts, std::size_t count, MatrixView<float> out) {
    const std::size_t size = SumsSize(rows_, head_dim_);
    const Sums total = SumsAt(parts, rows_, head_dim_);
    for (std::size_t i = 1; i < count; ++i) {
      Merge(scale_, SumsAt(parts + i * size, rows_, head_dim_), total);
    }
    Finish(total, out);
  }

  // Over keys of one span.
  void RunSpan(const Range& seen, const Sums& sums) {
    const Range keys = as_held_ ? seen : Widened(seen);
    const MatrixView<float> scores = Take<float>(scratch_.scores, rows_, kSpanTokens);
    const KvCache::Head head{layer_.cache_layer, tile_.slot, tile_.kv_head};
    ForPages(keys, [&](const Range& piece, const Range& rows) {
      ScorePiece(
          cache_.Keys(head, piece.first), rows,
          scores.Rows(rows.first, rows.count()).Cols(piece.first - keys.first, piece.count()));
    });
    for (std::size_t r = 0; r < rows_; ++r)
      Weigh(keys, seen, r, {scores.row(r), keys.count()}, sums);
    std::fill_n(sums.values.data, rows_ * head_dim_, 0.0F);
    ForPages(keys, [&](const Range& piece, const Range& rows) {
      MixPiece(cache_.Values(head, piece.first),
               scores.Rows(rows.first, rows.count()).Cols(piece.first - keys.first, piece.count()),
               sums.values.Rows(rows.first, rows.count()));
    });
  }

 private:
  std::size_t FirstColumn() const { return tile_.kv_head * shared_ * head_dim_; }

  // To multiples, as far as its span and its last page go.
  Range Widened(const Range& keys) const {
    const std::size_t page = cache_.shape().page_tokens;
    const std::size_t span = keys.first / kSpanTokens * kSpanTokens;
    return {std::max(keys.first / kKeyStep * kKeyStep, span),
            std::min({RoundUp(keys.last, kKeyStep), RoundUp(keys.last, page), span + kSpanTokens})};
  }

  // use(keys of one page, rows that see some of them)
  template <class Use>
  void ForPages(const Range& keys, Use use) const {
    const std::size_t page = cache_.shape().page_tokens;
    for (std::size_t at = keys.first; at < keys.last;) {
      const Range piece{at, std::min((at / page + 1) * page, keys.last)};
      Range tokens{0, tile_.tokens};
      if (piece.first > tile_.position) tokens.first = piece.first - tile_.position;
      if (layer_.window != 0) {
        const std::size_t end = piece.last + layer_.window;  // the first position that sees none
        tokens.last = std::min(tokens.last, end - std::min(end, tile_.position + 1));
      }
      if (!tokens.empty()) use(piece, Range{tokens.first * shared_, tokens.last * shared_});
      at = piece.last;
    }
  }

  // The cached rows to compute with, [n, head_dim], without scales.
  MatrixView<const T> Dense(const KvRows& rows, std::size_t n) {
    if (rows.element == kElement<T>) return {static_cast<const T*>(rows.elements), n, head_dim_};
    const MatrixView<T> read = Take<T>(scratch_.rows, n, head_dim_);
    Read(rows, read);
    return read;
  }

  void ScorePiece(const KvRows& keys, const Range& rows, MatrixView<float> scores) {
    if (as_held_) {
      return Score(keys, MatrixView<const float>(first_query_, rows_, head_dim_), scores);
    }
    const MatrixView<const T> queries = many_.Rows(rows.first, rows.count());
    math::MatMul(math::Plain(queries), math::Transposed(Dense(keys, scores.cols)), head_dim_,
                 scores);
    if (keys.scales == nullptr) return;
    for (std::size_t r = 0; r < scores.rows; ++r) {
      math::Multiply({scores.row(r), scores.cols}, {keys.scales, scores.cols});
    }
  }

  // Scores of a row become weights, zero where it sees nothing.
  void Weigh(const Range& keys, const Range& span, std::size_t row, std::span<float> scores,
             const Sums& sums) const {
    const Range seen = Both(VisibleTo(tile_.position + row / shared_, layer_.window), span);
    sums.weights(row, 0) = 0;
    sums.largest(row, 0) = -std::numeric_limits<float>::infinity();
    if (seen.empty()) {
      std::ranges::fill(scores, 0.0F);
      return;
    }
    const std::span<float> of_seen = scores.subspan(seen.first - keys.first, seen.count());
    sums.largest(row, 0) = math::Max(of_seen);
    sums.weights(row, 0) = math::ExpSum(of_seen, scale_, sums.largest(row, 0));
    std::fill(scores.data(), of_seen.data(), 0.0F);
    std::fill(of_seen.data() + of_seen.size(), scores.data() + scores.size(), 0.0F);
  }

  void MixPiece(const KvRows& values, MatrixView<float> weights, MatrixView<float> out) {
    if (as_held_) return Mix(values, weights, out);
    if (values.scales != nullptr) {
      for (std::size_t r = 0; r < weights.rows; ++r) {
        math::Multiply({weights.row(r), weights.cols}, {values.scales, weights.cols});
      }
    }
    const MatrixView<const T> rows = Dense(values, weights.cols);
    if constexpr (std::is_same_v<T, float>) {
      math::MatMul(math::Plain(weights), math::Plain(rows), weights.cols, out, true);
    } else {
      const MatrixView<T> rounded = Take<T>(scratch_.weights, weights.rows, weights.cols);
      for (std::size_t r = 0; r < weights.rows; ++r) {
        Copy(std::span<const float>(weights.row(r), weights.cols),
             std::span(rounded.row(r), weights.cols));
      }
      math::MatMul(math::Plain(rounded), math::Plain(rows), weights.cols, out, true);
    }
  }

  void Finish(const Sums& total, MatrixView<float> out) const {
    const std::size_t width = shared_ * head_dim_;
    for (std::size_t r = 0; r < rows_; ++r) {
      math::Multiply({total.values.row(r), head_dim_}, 1.0F / total.weights(r, 0));
    }
    for (std::size_t t = 0; t < tile_.tokens; ++t) {
      std::copy_n(total.values.row(t * shared_), width,
                  out.row(tile_.first_row + t) + FirstColumn());
    }
  }

  const AttentionLayer& layer_;
  const KvCache& cache_;
  const Tile& tile_;
  std::size_t shared_;
  std::size_t head_dim_;
  float scale_;
  std::size_t rows_;
  Attention::Scratch& scratch_;
  const float* first_query_;
  bool as_held_;        // rows are computed with as they are, by our own loops
  MatrixView<T> many_;  // queries of several tokens
};

}  // namespace

template <class T>
void Attention::RunAs(const AttentionLayer& layer, const Batch& batch, const KvCache& cache,
                      MatrixView<const float> queries, MatrixView<float> out) {
  const model::ModelConfig& config = *layer.config;
  const std::size_t shared = config.num_attention_heads / config.num_key_value_heads;
  const Plan plan = MakePlan(layer, batch, shared);
  const std::size_t part_size = SumsSize(shared, config.head_dim);
  const MatrixView<float> parts = Take<float>(parts_, plan.parts, part_size);
  pool_.ParallelFor(plan.tasks.size(), [&](std::size_t i, std::size_t worker) {
    const Task& task = plan.tasks[i];
    TileRunner<T> runner(layer, cache, plan.tiles[task.tile], queries, scratch_[worker]);
    if (task.part == SIZE_MAX) {
      runner.Run(out);
    } else {
      runner.RunSpan(task.keys, SumsAt(parts.row(task.part), shared, config.head_dim));
    }
  });
  if (plan.merges.empty()) return;
  pool_.ParallelFor(plan.merges.size(), [&](std::size_t i, std::size_t worker) {
    const auto& [tile, of_tile] = plan.merges[i];
    TileRunner<T>(layer, cache, plan.tiles[tile], queries, scratch_[worker])
        .Join(parts.row(of_tile.first), of_tile.count(), out);
  });
}

void Attention::Run(const AttentionLayer& layer, const Batch& batch, const KvCache& cache,
                    MatrixView<const float> queries, MatrixView<float> out) {
  if (cache.precision() == math::Precision::kBF16) {
    RunAs<BF16>(layer, batch, cache, queries, out);
  } else {
    RunAs<float>(layer, batch, cache, queries, out);
  }
}

void Attention::ReleaseScratch() {
  for (Scratch& each : scratch_) each = {};
  parts_ = {};
}

}  // namespace awq::transformer
