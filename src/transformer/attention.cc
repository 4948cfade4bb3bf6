#include "transformer/attention.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "math/matmul.h"
#include "math/vector.h"

namespace awq::transformer {
namespace {

constexpr std::size_t kQueryTile = 128;
// Key ranges are widened to this multiple, so that few different products are prepared.
constexpr std::size_t kKeyStep = 64;
// So many narrow rows are made floats at a time.
constexpr std::size_t kNarrowRows = 256;

// A tile of queries against one key head. Rows of a tile are queries of one head at consecutive
// positions, or, for a single new token, the heads that share the key head.
struct Tile {
  std::size_t slot = 0;
  std::size_t kv_head = 0;
  std::size_t first_row = 0;  // row of `queries` and `out`
  std::size_t first_col = 0;  // column of the (first) head
  std::size_t rows = 0;
  std::size_t row_stride = 0;
  std::size_t first_position = 0;
  std::size_t position_step = 0;  // 0 where all rows are heads of one token
};

std::vector<Tile> CutTiles(const model::ModelConfig& config, const Batch& batch) {
  const std::size_t shared = config.num_attention_heads / config.num_key_value_heads;
  std::vector<Tile> tiles;
  std::size_t row = 0;
  for (const Segment& segment : batch) {
    for (std::size_t kv = 0; kv < config.num_key_value_heads; ++kv) {
      const std::size_t first_head = kv * shared;
      if (segment.tokens == 1) {
        tiles.push_back({segment.slot, kv, row, first_head * config.head_dim, shared,
                         config.head_dim, segment.position, 0});
        continue;
      }
      for (std::size_t head = first_head; head < first_head + shared; ++head) {
        for (std::size_t t = 0; t < segment.tokens; t += kQueryTile) {
          tiles.push_back({segment.slot, kv, row + t, head * config.head_dim,
                           std::min(kQueryTile, segment.tokens - t), config.q_width(),
                           segment.position + t, 1});
        }
      }
    }
    row += segment.tokens;
  }
  return tiles;
}

struct KeyRange {
  std::size_t first = 0;
  std::size_t last = 0;  // exclusive

  std::size_t count() const { return last - first; }
};

KeyRange VisibleTo(std::size_t position, std::size_t window) {
  return {window != 0 && position + 1 > window ? position + 1 - window : 0, position + 1};
}

// Scratch memory of one thread.
template <class T>
struct Scratch {
  Buffer<T> queries;
  Buffer<T> weights;
  Buffer<T> rows;
  Buffer<float> scores;
  Buffer<float> divisors;
};

template <class T>
void Copy(std::span<const float> from, std::span<T> to) {
  if constexpr (std::is_same_v<T, BF16>) {
    math::Convert(from, to);
  } else {
    std::copy(from.begin(), from.end(), to.begin());
  }
}

template <class T>
MatrixView<T> Reserve(Buffer<T>& memory, std::size_t rows, std::size_t cols) {
  if (memory.size() < rows * cols) memory = Buffer<T>(rows * cols);
  return {memory.data(), rows, cols};
}

// The softmax of a row of scores over the keys that it may see, zero elsewhere, before its
// division: dividing the outputs is less work. Returns the divisor.
template <class T>
float Weigh(std::span<float> scores, KeyRange keys, KeyRange seen, float scale,
            std::span<T> weights) {
  const std::size_t first = seen.first - keys.first;
  const std::size_t count = seen.last - seen.first;
  const float sum = math::ExpSum(scores.subspan(first, count), scale);
  std::fill_n(weights.begin(), first, T{});
  Copy(std::span<const float>(scores.subspan(first, count)), weights.subspan(first, count));
  std::fill(weights.begin() + static_cast<std::ptrdiff_t>(first + count), weights.end(), T{});
  return sum;
}

// use(first, rows) for a head's keys, or values, in that range: rows to compute with, [n,
// head_dim], the first of which belongs to the range's key `first`.
template <class T, class Use>
void ForCached(MatrixView<const T> cached, KeyRange keys, Use use) {
  use(0, cached.Rows(keys.first, keys.count()));
}

template <class T, class Use>
void ForNarrow(const NarrowRows& cached, KeyRange keys, Scratch<T>& scratch, Use use) {
  const NarrowRows seen = From(cached, keys.first);
  for (std::size_t first = 0; first < keys.count(); first += kNarrowRows) {
    const std::size_t n = std::min(kNarrowRows, keys.count() - first);
    const MatrixView<T> rows = Reserve(scratch.rows, n, cached.head_dim);
    Read(From(seen, first), rows);
    use(first, MatrixView<const T>(rows));
  }
}

template <class T>
void AttendTile(const AttentionLayer& layer, const Tile& tile, KvCache& cache,
                MatrixView<const float> queries, MatrixView<float> out, Scratch<T>& scratch) {
  const std::size_t head_dim = layer.config->head_dim;
  const float scale = 1.0F / std::sqrt(static_cast<float>(head_dim));
  const std::size_t last_position = tile.first_position + (tile.rows - 1) * tile.position_step;
  const std::size_t first = VisibleTo(tile.first_position, layer.window).first;
  const KeyRange keys{first / kKeyStep * kKeyStep, std::min(cache.shape().capacity_tokens,
                                                            RoundUp(last_position + 1, kKeyStep))};
  const auto for_rows = [&](bool values, auto use) {
    const std::size_t at = layer.cache_layer;
    if constexpr (std::is_same_v<T, float>) {
      if (cache.shape().type != KvType::kExact) {
        return ForNarrow(values ? cache.NarrowValues(at, tile.slot, tile.kv_head)
                                : cache.NarrowKeys(at, tile.slot, tile.kv_head),
                         keys, scratch, use);
      }
    }
    ForCached<T>(values ? cache.Values<T>(at, tile.slot, tile.kv_head)
                        : cache.Keys<T>(at, tile.slot, tile.kv_head),
                 keys, use);
  };
  const MatrixView<T> q = Reserve(scratch.queries, tile.rows, head_dim);
  const MatrixView<float> scores = Reserve(scratch.scores, tile.rows, keys.count());
  const MatrixView<T> weights = Reserve(scratch.weights, tile.rows, keys.count());
  const float* q_first = queries.row(tile.first_row) + tile.first_col;
  for (std::size_t r = 0; r < tile.rows; ++r) {
    Copy(std::span(q_first + r * tile.row_stride, head_dim), std::span(q.row(r), head_dim));
  }
  for_rows(false, [&](std::size_t at, MatrixView<const T> rows) {
    math::MatMul(math::Plain(q), math::Transposed(rows), head_dim, scores.Cols(at, rows.rows));
  });
  const MatrixView<float> divisors = Reserve(scratch.divisors, tile.rows, 1);
  for (std::size_t r = 0; r < tile.rows; ++r) {
    const std::size_t position = tile.first_position + r * tile.position_step;
    divisors(r, 0) =
        Weigh(std::span(scores.row(r), keys.count()), keys, VisibleTo(position, layer.window),
              scale, std::span(weights.row(r), keys.count()));
  }
  const MatrixView<float> attended(out.row(tile.first_row) + tile.first_col, tile.rows, head_dim,
                                   tile.row_stride);
  for_rows(true, [&](std::size_t at, MatrixView<const T> rows) {
    math::MatMul(math::Plain(weights.Cols(at, rows.rows)), math::Plain(rows), rows.rows, attended,
                 at != 0);
  });
  for (std::size_t r = 0; r < tile.rows; ++r) {
    math::Multiply({attended.row(r), head_dim}, 1.0F / divisors(r, 0));
  }
}

// The heads of one token that share a key head, over narrow rows as they are.
void AttendOne(const AttentionLayer& layer, const Tile& tile, const KvCache& cache,
               MatrixView<const float> queries, MatrixView<float> out, Scratch<float>& scratch) {
  const std::size_t head_dim = layer.config->head_dim;
  const float scale = 1.0F / std::sqrt(static_cast<float>(head_dim));
  const KeyRange seen = VisibleTo(tile.first_position, layer.window);
  const MatrixView<const float> q(queries.row(tile.first_row) + tile.first_col, tile.rows,
                                  head_dim);
  const MatrixView<float> attended(out.row(tile.first_row) + tile.first_col, tile.rows, head_dim);
  const MatrixView<float> scores = Reserve(scratch.scores, tile.rows, seen.count());
  const MatrixView<float> divisors = Reserve(scratch.divisors, tile.rows, 1);
  Score(From(cache.NarrowKeys(layer.cache_layer, tile.slot, tile.kv_head), seen.first), q, scores);
  for (std::size_t r = 0; r < tile.rows; ++r) {
    divisors(r, 0) = math::ExpSum({scores.row(r), scores.cols}, scale);
  }
  Mix(From(cache.NarrowValues(layer.cache_layer, tile.slot, tile.kv_head), seen.first), scores,
      attended);
  for (std::size_t r = 0; r < tile.rows; ++r) {
    math::Multiply({attended.row(r), head_dim}, 1.0F / divisors(r, 0));
  }
}

template <class T>
void AttendAs(ThreadPool& pool, const AttentionLayer& layer, const Batch& batch, KvCache& cache,
              MatrixView<const float> queries, MatrixView<float> out) {
  const std::vector<Tile> tiles = CutTiles(*layer.config, batch);
  std::vector<Scratch<T>> scratch(pool.size());
  const bool narrow = cache.shape().type != KvType::kExact;
  pool.ParallelFor(tiles.size(), [&](std::size_t task, std::size_t worker) {
    const Tile& tile = tiles[task];
    if constexpr (std::is_same_v<T, float>) {
      if (narrow && tile.position_step == 0) {
        return AttendOne(layer, tile, cache, queries, out, scratch[worker]);
      }
    }
    AttendTile<T>(layer, tile, cache, queries, out, scratch[worker]);
  });
}

}  // namespace

void Attend(ThreadPool& pool, const AttentionLayer& layer, const Batch& batch, KvCache& cache,
            MatrixView<const float> queries, MatrixView<float> out) {
  // bf16 would round what narrow rows hold once more.
  const bool exact = cache.shape().type == KvType::kExact;
  if (exact && cache.precision() == math::Precision::kBF16) {
    AttendAs<BF16>(pool, layer, batch, cache, queries, out);
  } else {
    AttendAs<float>(pool, layer, batch, cache, queries, out);
  }
}

}  // namespace awq::transformer
