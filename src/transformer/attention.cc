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
};

KeyRange VisibleTo(std::size_t position, std::size_t window) {
  return {window != 0 && position + 1 > window ? position + 1 - window : 0, position + 1};
}

// Scratch memory of one thread.
template <class T>
struct Scratch {
  Buffer<T> queries;
  Buffer<T> weights;
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

template <class T>
void AttendTile(const AttentionLayer& layer, const Tile& tile, KvCache& cache,
                MatrixView<const float> queries, MatrixView<float> out, Scratch<T>& scratch) {
  const std::size_t head_dim = layer.config->head_dim;
  const float scale = 1.0F / std::sqrt(static_cast<float>(head_dim));
  const std::size_t last_position = tile.first_position + (tile.rows - 1) * tile.position_step;
  const std::size_t first = VisibleTo(tile.first_position, layer.window).first;
  const KeyRange keys{first / kKeyStep * kKeyStep, std::min(cache.shape().capacity_tokens,
                                                            RoundUp(last_position + 1, kKeyStep))};
  const std::size_t count = keys.last - keys.first;
  const auto head = [&](MatrixView<T> cached) {
    return MatrixView<const T>(
        cached.Rows(keys.first, count).Cols(tile.kv_head * head_dim, head_dim));
  };
  const MatrixView<T> q = Reserve(scratch.queries, tile.rows, head_dim);
  const MatrixView<float> scores = Reserve(scratch.scores, tile.rows, count);
  const MatrixView<T> weights = Reserve(scratch.weights, tile.rows, count);
  const float* q_first = queries.row(tile.first_row) + tile.first_col;
  for (std::size_t r = 0; r < tile.rows; ++r) {
    Copy(std::span(q_first + r * tile.row_stride, head_dim), std::span(q.row(r), head_dim));
  }
  math::MatMul(math::Plain(q), math::Transposed(head(cache.Keys<T>(layer.cache_layer, tile.slot))),
               head_dim, scores);
  const MatrixView<float> divisors = Reserve(scratch.divisors, tile.rows, 1);
  for (std::size_t r = 0; r < tile.rows; ++r) {
    const std::size_t position = tile.first_position + r * tile.position_step;
    divisors(r, 0) = Weigh(std::span(scores.row(r), count), keys, VisibleTo(position, layer.window),
                           scale, std::span(weights.row(r), count));
  }
  const MatrixView<float> attended(out.row(tile.first_row) + tile.first_col, tile.rows, head_dim,
                                   tile.row_stride);
  math::MatMul(math::Plain(weights),
               math::Plain(head(cache.Values<T>(layer.cache_layer, tile.slot))), count, attended);
  for (std::size_t r = 0; r < tile.rows; ++r) {
    math::Multiply({attended.row(r), head_dim}, 1.0F / divisors(r, 0));
  }
}

template <class T>
void AttendAs(ThreadPool& pool, const AttentionLayer& layer, const Batch& batch, KvCache& cache,
              MatrixView<const float> queries, MatrixView<float> out) {
  const std::vector<Tile> tiles = CutTiles(*layer.config, batch);
  std::vector<Scratch<T>> scratch(pool.size());
  pool.ParallelFor(tiles.size(), [&](std::size_t task, std::size_t worker) {
    AttendTile<T>(layer, tiles[task], cache, queries, out, scratch[worker]);
  });
}

}  // namespace

void Attend(ThreadPool& pool, const AttentionLayer& layer, const Batch& batch, KvCache& cache,
            MatrixView<const float> queries, MatrixView<float> out) {
  if (cache.precision() == math::Precision::kBF16) {
    AttendAs<BF16>(pool, layer, batch, cache, queries, out);
  } else {
    AttendAs<float>(pool, layer, batch, cache, queries, out);
  }
}

}  // namespace awq::transformer
