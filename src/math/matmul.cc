#include "math/matmul.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <new>
#include <oneapi/dnnl/dnnl.hpp>
#include <unordered_map>
#include <utility>

#include "math/vector.h"

extern "C" void omp_set_num_threads(int);  // libgomp, which oneDNN brings; no OpenMP of our own

namespace awq::math {
namespace {

// oneDNN rearranges its operands for every tile, so large ones run nearer to its peak; but all
// workers want some. Sizes alone decide, not the workers: results must not depend on them.
constexpr std::size_t kFewTiles = 16;
constexpr std::size_t kMostTileRows = 1024;
constexpr std::size_t kMostTileCols = 512;
constexpr std::size_t kLeastTile = 256;
constexpr std::size_t kMostGramTile = 1024;
constexpr std::size_t kLeastGramTile = 128;
// Up to this many tokens a dot product per output is faster than oneDNN, which rearranges weights.
constexpr std::size_t kFewTokens = 2;
constexpr std::size_t kMostPrimitives = 512;

dnnl::memory::dim Dim(std::size_t size) { return static_cast<dnnl::memory::dim>(size); }

// What a primitive is made for: sizes, strides, type, accumulate.
using Key = std::array<std::size_t, 10>;

struct Primitive {
  dnnl::matmul matmul;
  std::size_t scratch_bytes = 0;
  // Made once: what they point at is set for every call.
  std::unordered_map<int, dnnl::memory> arguments;
};

// oneDNN's state of one thread. Scratch memory is shared by all primitives of the thread.
class Worker {
 public:
  static Worker& Get() {
    thread_local Worker worker;
    return worker;
  }

  void Run(const Operand& a, const Operand& b, std::size_t k, MatrixView<float> c,
           bool accumulate) {
    Primitive& primitive = Find({c.rows, c.cols, k, a.stride, a.transposed, b.stride, b.transposed,
                                 c.stride, static_cast<std::size_t>(a.dtype), accumulate},
                                a, b, c);
    if (scratch_.size() < primitive.scratch_bytes) {
      scratch_ = Buffer<std::byte>(primitive.scratch_bytes);
    }
    const auto set = [&](int argument, const void* data) {
      primitive.arguments.at(argument).set_data_handle(const_cast<void*>(data));
    };
    set(DNNL_ARG_SRC, a.data);
    set(DNNL_ARG_WEIGHTS, b.data);
    set(DNNL_ARG_DST, c.data);
    set(DNNL_ARG_SCRATCHPAD, scratch_.data());
    primitive.matmul.execute(stream_, primitive.arguments);
    stream_.wait();
  }

 private:
  Worker() : engine_(dnnl::engine::kind::cpu, 0), stream_(engine_) { omp_set_num_threads(1); }

  static dnnl::memory::desc Describe(const Operand& x, std::size_t rows, std::size_t cols) {
    const auto type =
        x.dtype == DType::kBF16 ? dnnl::memory::data_type::bf16 : dnnl::memory::data_type::f32;
    const dnnl::memory::dims strides =
        x.transposed ? dnnl::memory::dims{1, Dim(x.stride)} : dnnl::memory::dims{Dim(x.stride), 1};
    return {{Dim(rows), Dim(cols)}, type, strides};
  }

  Primitive& Find(const Key& key, const Operand& a, const Operand& b, MatrixView<float> c) {
    if (const auto found = primitives_.find(key); found != primitives_.end()) return found->second;
    if (primitives_.size() >= kMostPrimitives) primitives_.clear();
    const std::size_t k = key[2];
    const dnnl::memory::desc c_desc({Dim(c.rows), Dim(c.cols)}, dnnl::memory::data_type::f32,
                                    dnnl::memory::dims{Dim(c.stride), 1});
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    if (key.back() != 0) {
      dnnl::post_ops sum;
      sum.append_sum(1.0F);
      attributes.set_post_ops(sum);
    }
    const dnnl::memory::desc a_desc = Describe(a, c.rows, k);
    const dnnl::memory::desc b_desc = Describe(b, k, c.cols);
#if DNNL_VERSION_MAJOR >= 3
    const dnnl::matmul::primitive_desc made(engine_, a_desc, b_desc, c_desc, attributes);
#else
    const dnnl::matmul::primitive_desc made(dnnl::matmul::desc(a_desc, b_desc, c_desc), attributes,
                                            engine_);
#endif
    const auto argument = [&](const dnnl::memory::desc& desc) {
      return dnnl::memory(desc, engine_, DNNL_MEMORY_NONE);
    };
    Primitive primitive{dnnl::matmul(made),
                        made.scratchpad_desc().get_size(),
                        {{DNNL_ARG_SRC, argument(made.src_desc())},
                         {DNNL_ARG_WEIGHTS, argument(made.weights_desc())},
                         {DNNL_ARG_DST, argument(made.dst_desc())},
                         {DNNL_ARG_SCRATCHPAD, argument(made.scratchpad_desc())}}};
    return primitives_.emplace(key, std::move(primitive)).first->second;
  }

  dnnl::engine engine_;
  dnnl::stream stream_;
  std::map<Key, Primitive> primitives_;
  Buffer<std::byte> scratch_;
};

// The part of an operand that a tile needs: rows (or columns) from `first` on.
Operand Offset(const Operand& x, std::size_t row, std::size_t col) {
  if (x.transposed) std::swap(row, col);
  Operand moved = x;
  moved.data =
      static_cast<const std::byte*>(x.data) + (row * x.stride + col) * ElementBytes(x.dtype);
  return moved;
}

// One dot product per output: at so few tokens the time is that of reading the weights once.
template <class T>
void ApplyToFewTokens(ThreadPool& pool, MatrixView<const T> x, MatrixView<const T> weights,
                      MatrixView<float> y) {
  constexpr std::size_t kRowsPerTask = 64;
  pool.ParallelFor(CeilDiv(weights.rows, kRowsPerTask), [&](std::size_t task, std::size_t) {
    const std::size_t last = std::min(weights.rows, (task + 1) * kRowsPerTask);
    for (std::size_t n = task * kRowsPerTask; n < last; ++n) {
      for (std::size_t t = 0; t < x.rows; ++t) {
        y(t, n) = Dot(std::span(x.row(t), x.cols), std::span(weights.row(n), x.cols));
      }
    }
  });
}

template <class T>
void Apply(ThreadPool& pool, MatrixView<const T> x, MatrixView<const T> weights,
           MatrixView<float> y) {
  AWQ_CHECK_EQ(x.cols, weights.cols);
  AWQ_CHECK_EQ(y.cols, weights.rows);
  AWQ_CHECK_EQ(y.rows, x.rows);
  if (x.rows <= kFewTokens) return ApplyToFewTokens(pool, x, weights, y);
  ParallelMatMul(pool, Plain(x), Transposed(weights), x.cols, y);
}

struct Tile {
  std::size_t row = 0;
  std::size_t col = 0;
  std::size_t rows = 0;
  std::size_t cols = 0;
};

// Rows and columns of the tiles that a product of this size is cut into.
std::pair<std::size_t, std::size_t> TileShape(std::size_t rows, std::size_t cols) {
  std::size_t tile_rows = kMostTileRows;
  std::size_t tile_cols = kMostTileCols;
  while (CeilDiv(rows, tile_rows) * CeilDiv(cols, tile_cols) < kFewTiles) {
    if (tile_rows <= kLeastTile && tile_cols <= kLeastTile) break;
    (tile_rows >= tile_cols ? tile_rows : tile_cols) /= 2;
  }
  return {tile_rows, tile_cols};
}

// Cuts the upper triangle of columns [first, first + n) into tiles: the square off the diagonal,
// then both halves of the diagonal likewise, so that little below it is computed.
void CutUpper(std::size_t first, std::size_t n, std::size_t most, std::vector<Tile>& tiles) {
  if (n <= kLeastGramTile) {
    if (n > 0) tiles.push_back({first, first, n, n});
    return;
  }
  const std::size_t half = RoundUp(CeilDiv(n, 2), kLeastGramTile);
  for (std::size_t row = 0; row < half; row += most) {
    for (std::size_t col = half; col < n; col += most) {
      tiles.push_back(
          {first + row, first + col, std::min(most, half - row), std::min(most, n - col)});
    }
  }
  CutUpper(first, half, most, tiles);
  CutUpper(first + half, n - half, most, tiles);
}

std::vector<Tile> UpperTiles(std::size_t n) {
  std::size_t most = kMostGramTile;
  while (most > kLeastGramTile && n / most * (n / most) < kFewTiles) most /= 2;
  std::vector<Tile> tiles;
  CutUpper(0, n, most, tiles);
  // Large ones first, so that all workers end together.
  std::stable_sort(tiles.begin(), tiles.end(),
                   [](const Tile& a, const Tile& b) { return a.rows * a.cols > b.rows * b.cols; });
  return tiles;
}

template <class T>
void Gram(ThreadPool& pool, MatrixView<const T> x, MatrixView<float> gram) {
  AWQ_CHECK_EQ(gram.rows, x.cols);
  AWQ_CHECK_EQ(gram.cols, x.cols);
  const std::vector<Tile> tiles = UpperTiles(x.cols);
  pool.ParallelFor(tiles.size(), [&](std::size_t task, std::size_t) {
    const Tile& tile = tiles[task];
    MatMul(Transposed(x.Cols(tile.row, tile.rows)), Plain(x.Cols(tile.col, tile.cols)), x.rows,
           MatrixView<float>(&gram(tile.row, tile.col), tile.rows, tile.cols, gram.stride),
           /*accumulate=*/true);
  });
}

}  // namespace

bool HasFastBF16() {
#if defined(__x86_64__)
  return dnnl::get_effective_cpu_isa() >= dnnl::cpu_isa::avx512_core_bf16;
#else
  return false;
#endif
}

void MatMul(const Operand& a, const Operand& b, std::size_t k, MatrixView<float> c,
            bool accumulate) {
  AWQ_CHECK(a.dtype == b.dtype);
  if (c.rows == 0 || c.cols == 0) return;
  AWQ_CHECK_LT(std::size_t{0}, k);
  try {
    Worker::Get().Run(a, b, k, c, accumulate);
  } catch (const dnnl::error& error) {
    if (error.status == dnnl_out_of_memory) throw std::bad_alloc();
    throw InternalError(fmt::format("oneDNN: {}", error.message));
  }
}

void ParallelMatMul(ThreadPool& pool, const Operand& a, const Operand& b, std::size_t k,
                    MatrixView<float> c, bool accumulate) {
  const auto [tile_rows, tile_cols] = TileShape(c.rows, c.cols);
  const std::size_t down = CeilDiv(c.rows, tile_rows);
  const std::size_t across = CeilDiv(c.cols, tile_cols);
  // Consecutive tasks share the columns' operand, the weights.
  pool.ParallelFor(down * across,
                   [&, rows = tile_rows, cols = tile_cols](std::size_t task, std::size_t) {
                     const std::size_t row = task % down * rows;
                     const std::size_t col = task / down * cols;
                     MatMul(Offset(a, row, 0), Offset(b, 0, col), k,
                            MatrixView<float>(&c(row, col), std::min(rows, c.rows - row),
                                              std::min(cols, c.cols - col), c.stride),
                            accumulate);
                   });
}

void AccumulateGram(ThreadPool& pool, MatrixView<const float> x, MatrixView<float> gram) {
  Gram(pool, x, gram);
}
void AccumulateGram(ThreadPool& pool, MatrixView<const BF16> x, MatrixView<float> gram) {
  Gram(pool, x, gram);
}

void MirrorUpper(MatrixView<float> gram) {
  // In squares that fit the cache: one side is read along rows, the other across them.
  constexpr std::size_t kSquare = 64;
  for (std::size_t row = 0; row < gram.rows; row += kSquare) {
    for (std::size_t col = 0; col <= row; col += kSquare) {
      for (std::size_t i = row; i < std::min(row + kSquare, gram.rows); ++i) {
        for (std::size_t j = col; j < std::min(col + kSquare, i); ++j) gram(i, j) = gram(j, i);
      }
    }
  }
}

void ApplyWeights(ThreadPool& pool, MatrixView<const float> x, MatrixView<const float> weights,
                  MatrixView<float> y) {
  Apply(pool, x, weights, y);
}
void ApplyWeights(ThreadPool& pool, MatrixView<const BF16> x, MatrixView<const BF16> weights,
                  MatrixView<float> y) {
  Apply(pool, x, weights, y);
}

}  // namespace awq::math
