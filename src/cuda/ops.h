// The rest of a token, beside the linears: launches on a stream of the current device, which a CUDA
// graph may capture. Every pointer is one of the device unless it says otherwise; matrices are rows
// one after another. What a launch gives for one token does not depend on those beside it, and has
// the same bits every time. Rows are read 16 bytes at a time: widths are multiples of 8, arrays
// aligned to 16 bytes. A fault: a shape that is not held (kUnsupported), or a failed launch.
//
// Linears give fp32 without their biases, which are added by what reads them (null: there is none).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "cuda/device.h"
#include "cuda/fault.h"

namespace awq::cuda {

enum class Element : unsigned char { kF32, kF16, kBF16, kInt8 };

// Rows of `type`, kF16 or kBF16, that linears read.
struct Activations {
  void* data = nullptr;
  Element type = Element::kBF16;
};

struct EmbedTask {
  const void* table = nullptr;    // [vocab, width]
  Element type = Element::kBF16;  // not kInt8
  int vocab = 0;
  int width = 0;
  const std::int32_t* ids = nullptr;  // [tokens]
  int tokens = 0;
  float* hidden = nullptr;  // [tokens, width]; NaN for an id outside the vocabulary
};
Fault Embed(const EmbedTask& task, StreamHandle stream);

// hidden += added + bias, and out = hidden / sqrt(mean(hidden^2) + eps) * weight, rounded.
struct NormTask {
  float* hidden = nullptr;        // [any, width]
  const float* added = nullptr;   // likewise; null: nothing is added
  const float* bias = nullptr;    // [width]
  const float* weight = nullptr;  // [width]
  float eps = 0;
  int width = 0;                       // 32768 at most
  const std::int32_t* rows = nullptr;  // [tokens], of hidden and added; null: the first ones
  int tokens = 0;
  Activations out;  // [tokens, width]; null: nothing is normalized
};
Fault AddNorm(const NormTask& task, StreamHandle stream);

// out = silu(gate + gate_bias) * (up + up_bias), rounded; silu(g) = g / (1 + exp(-g)).
struct GateTask {
  const float* gate = nullptr;  // [tokens, width], a row every `stride`
  const float* up = nullptr;
  std::int64_t stride = 0;  // elements
  const float* gate_bias = nullptr;
  const float* up_bias = nullptr;
  int tokens = 0;
  int width = 0;
  Activations out;  // [tokens, width]
};
Fault Gate(const GateTask& task, StreamHandle stream);

inline constexpr int kPageTokens = 128;

// Keys (rotated) and values of past tokens, in pages. A page holds layer after layer, in each key
// head after key head, of each the rows of its keys and then those of its values, one a token.
struct KvPages {
  void* rows = nullptr;           // [pages, layers, kv_heads, 2, kPageTokens, head_dim] of `type`
  float* scales = nullptr;        // of each row, for kInt8: a row is its codes times its scale
  Element type = Element::kBF16;  // not kF32
  const std::uint32_t* tables = nullptr;  // [slots, table_pages], the pages of each sequence
  int table_pages = 0;
  int layers = 0;
  int kv_heads = 0;
  int head_dim = 0;  // 256 at most
};

// The tokens of a batch, and what attention is over.
struct Sequence {
  const std::int32_t* positions = nullptr;  // [tokens]
  const std::int32_t* slots = nullptr;      // [tokens]
};

// Norms of heads (null: none) and rotation, of queries in place, of keys on their way to the pages;
// values as they are. Rounded to nearest; of kF16 what is beyond its range becomes its largest; of
// kInt8 as transformer::Round does it.
struct RopeTask {
  float* queries = nullptr;     // [tokens, heads * head_dim], a row every `stride`
  const float* keys = nullptr;  // [tokens, kv_heads * head_dim], likewise
  const float* values = nullptr;
  std::int64_t stride = 0;  // elements
  const float* query_bias = nullptr;
  const float* key_bias = nullptr;
  const float* value_bias = nullptr;
  const float* query_norm = nullptr;  // [head_dim]
  const float* key_norm = nullptr;
  float eps = 0;
  const float* cosines = nullptr;  // [positions, head_dim / 2], for pairs (i, i + head_dim / 2)
  const float* sines = nullptr;
  Sequence at;
  int tokens = 0;
  int heads = 0;  // a multiple of kv_heads
  int layer = 0;
  KvPages cache;
};
Fault RopeAndStore(const RopeTask& task, StreamHandle stream);

// softmax(q k / sqrt(head_dim)) v of single tokens, each over the keys at and before its position,
// of which it sees `window`, itself included (0: all). Its keys and values are in the pages
// already.
struct DecodeTask {
  const float* queries = nullptr;      // [any, heads * head_dim], rotated, a row every `stride`
  std::int64_t stride = 0;             // elements
  Sequence at;                         // of the same rows
  const std::int32_t* rows = nullptr;  // [tokens], those that are meant; null: the first ones
  int tokens = 0;
  int heads = 0;
  int layer = 0;
  int window = 0;
  int most_keys = 0;  // no position is as large; the shape of the launch follows from it
  KvPages cache;
  float* parts = nullptr;  // [DecodeParts(task)] of scratch memory
  Activations out;         // [any, heads * head_dim]
};
// Every page's keys are a part, of which a token has so many at most: a window may begin and end
// inside of pages.
inline int MostParts(const DecodeTask& task) {
  const int all = (task.most_keys + kPageTokens - 1) / kPageTokens;
  const int seen = task.window == 0 ? all : (task.window + 2 * kPageTokens - 2) / kPageTokens;
  return std::max(1, std::min(all, seen));
}
inline std::size_t DecodeParts(const DecodeTask& task) {
  const std::int64_t parts = std::int64_t{task.tokens} * task.heads * MostParts(task);
  return static_cast<std::size_t>(parts * (task.cache.head_dim + 2));
}
Fault AttendDecode(const DecodeTask& task, StreamHandle stream);

// Consecutive tokens of one sequence.
struct Segment {
  int tokens = 0;
  int position = 0;  // of the first token
  int slot = 0;
};

// Some of them, which go through attention together: so many rows of a query head each, at most.
inline constexpr int kTileRows = 64;
struct Tile {
  std::int32_t row = 0;  // of the first token, in the batch
  std::int32_t tokens = 0;
  std::int32_t position = 0;  // of the first token
  std::int32_t slot = 0;
};
// shared: query heads of a key head. `row`: of the segment's first token. Tiles begin at multiples
// of a number of tokens, so that what a token gets does not depend on the segments that its
// sequence was cut into; those that see most come first.
std::vector<Tile> TilesOf(const Segment& segment, int row, int shared);

// The same for several tokens of a sequence, in tensor cores: queries are rounded to the type of
// the keys (of int8: f16), weights to that of the values (of int8: bf16); sums are fp32.
struct PrefillTask {
  const float* queries = nullptr;  // [any, heads * head_dim], rotated, a row every `stride`
  std::int64_t stride = 0;         // elements
  const Tile* tiles = nullptr;     // [tile_count]
  int tile_count = 0;
  int heads = 0;  // 64 times kv_heads at most
  int layer = 0;
  int window = 0;
  KvPages cache;
  Activations out;  // [any, heads * head_dim]
};
Fault AttendPrefill(const PrefillTask& task, StreamHandle stream);

// gram += x^T x in tiles of 128 x 128 on and above the diagonal, or gram += left^T x in all of
// them; sums are fp32.
struct GramTask {
  const void* x = nullptr;        // [tokens, width]
  Element type = Element::kBF16;  // or kF16
  int tokens = 0;
  int width = 0;
  float* gram = nullptr;       // [width, width]
  const void* left = nullptr;  // as x; null: it is x
};
Fault AccumulateGram(const GramTask& task, StreamHandle stream);

}  // namespace awq::cuda
