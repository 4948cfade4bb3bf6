// Times of the launches of cuda/ops.h, sample.h and statistics.h, for gpu_bench.
#pragma once

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "cuda/copy.h"
#include "cuda/linears.h"
#include "cuda/ops.h"
#include "cuda/sample.h"
#include "cuda/statistics.h"
#include "cuda/test_bench.h"
#include "cuda/test_linear_bench.h"

namespace awq::cuda {

// Those of a model of 8 billion weights; a test on the emulator takes smaller ones.
struct OpsBenchSizes {
  int runs = kRuns;
  int repeats = 20;  // launches of a measurement, where nothing rotates
  std::size_t rotated_bytes = std::size_t{256} << 20;  // or four times the L2; 0: nothing rotates
  int heads = 32, kv_heads = 8, head_dim = 128;
  int width = 4096, gate_width = 14336;
  std::vector<int> batches = {1, 8};
  std::vector<int> contexts = {512, 4096, 32768};
  std::vector<int> tokens = {1, 8, 2048};
  int prefill_tokens = 2048;
  int vocab = 128256;
  int gram_width = 4096, gram_tokens = 4096;
};

class OpsBench {
 public:
  OpsBench(Linears& linears, double copy_bytes_per_s, const OpsBenchSizes& sizes)
      : linears_(linears), copy_bytes_per_s_(copy_bytes_per_s), sizes_(sizes) {}

  Fault Run() {
    std::printf(
        "\n| attention, one token each (%d / %d heads of %d, bf16) | keys | us | spread | of the "
        "copy's bandwidth |\n|---|---|---|---|---|\n",
        sizes_.heads, sizes_.kv_heads, sizes_.head_dim);
    for (const int batch : sizes_.batches) {
      for (const int context : sizes_.contexts) {
        AWQ_CUDA_TRY(Decode(batch, context));
      }
    }
    std::printf(
        "\n| operation | us | spread | TFLOP/s | cuBLASLt bf16, us |\n|---|---|---|---|---|\n");
    AWQ_CUDA_TRY(Prefill());
    AWQ_CUDA_TRY(Gram());
    AWQ_CUDA_TRY(Cross());
    AWQ_CUDA_TRY(Statistics());
    for (const int tokens : sizes_.tokens) {
      AWQ_CUDA_TRY(Norm(tokens));
      AWQ_CUDA_TRY(GateOf(tokens));
      AWQ_CUDA_TRY(Rope(tokens));
    }
    for (const int rows : sizes_.batches) {
      AWQ_CUDA_TRY(SampleOf(rows, "greedy", {}));
      AWQ_CUDA_TRY(SampleOf(rows, "temperature 0.8, top-p 0.95, top-k 50",
                            {.temperature = 0.8F, .top_p = 0.95F, .top_k = 50}));
    }
    return {};
  }

 private:
  std::size_t RotatedBytes() const {
    return sizes_.rotated_bytes == 0
               ? 0
               : std::max(sizes_.rotated_bytes, 4 * linears_.device().l2_bytes);
  }
  static std::size_t Size(std::int64_t n) { return static_cast<std::size_t>(n); }
  static std::string Tokens(int n) { return std::to_string(n) + (n == 1 ? " token" : " tokens"); }

  static void Print(const std::string& what, const Timing& times, double operations = 0) {
    std::printf("| %s | %.1f | %.0f %% | ", what.c_str(), times.median_s * 1e6, times.spread * 100);
    if (operations > 0) {
      std::printf("%.1f | ", operations / times.median_s * 1e-12);
    } else {
      std::printf("| ");
    }
  }

  template <class Launch>
  Fault Time(int launches, Timing& times, Launch launch) const {
    return Measure(launches, times, launch, sizes_.runs);
  }

  static Fault MakeNumbers(DeviceMemory& memory, std::size_t bytes) {
    AWQ_CUDA_TRY(memory.Allocate(bytes));
    return FillWithNumbers(memory);
  }
  // Pairs of them are fp32 numbers from -1 to 1.
  static Fault MakeFloats(DeviceMemory& memory, std::int64_t count) {
    return MakeNumbers(memory, Size(count) * sizeof(float));
  }

  // Pages of `slots` sequences of `context` tokens, in order, layers enough for `bytes` in all.
  struct Cache {
    DeviceMemory rows, tables;
    KvPages pages;
  };
  Fault MakeCache(int slots, int context, std::size_t bytes, Cache& cache) const {
    KvPages& pages = cache.pages;
    pages.table_pages = (context + kPageTokens - 1) / kPageTokens;
    pages.kv_heads = sizes_.kv_heads;
    pages.head_dim = sizes_.head_dim;
    const std::size_t of_layer = Size(std::int64_t{slots} * pages.table_pages * pages.kv_heads * 2 *
                                      kPageTokens * pages.head_dim * 2);
    pages.layers = static_cast<int>(std::max<std::size_t>(1, bytes / of_layer));
    std::vector<std::uint32_t> tables(Size(slots * pages.table_pages));
    for (std::size_t i = 0; i < tables.size(); ++i) {
      tables[i] = static_cast<std::uint32_t>(i);
    }
    AWQ_CUDA_TRY(Upload(cache.tables, tables));
    AWQ_CUDA_TRY(MakeNumbers(cache.rows, of_layer * Size(pages.layers)));
    pages.tables = cache.tables.data<std::uint32_t>();
    pages.rows = cache.rows.data();
    return {};
  }

  // Every layer of a cache in turn, so that keys and values come from memory.
  Fault Decode(int batch, int context) {
    Cache cache;
    AWQ_CUDA_TRY(MakeCache(batch, context, RotatedBytes(), cache));
    const int width = sizes_.heads * sizes_.head_dim;
    std::vector<std::int32_t> positions(Size(batch), context - 1), slots(Size(batch));
    for (std::size_t i = 0; i < slots.size(); ++i) {
      slots[i] = static_cast<std::int32_t>(i);
    }
    DeviceMemory queries, at, of, parts, out;
    AWQ_CUDA_TRY(MakeFloats(queries, std::int64_t{batch} * width));
    AWQ_CUDA_TRY(Upload(at, positions));
    AWQ_CUDA_TRY(Upload(of, slots));
    AWQ_CUDA_TRY(out.Allocate(Size(std::int64_t{batch} * width * 2)));
    DecodeTask task;
    task.queries = queries.data<float>();
    task.stride = width;
    task.at = {at.data<std::int32_t>(), of.data<std::int32_t>()};
    task.tokens = batch;
    task.heads = sizes_.heads;
    task.most_keys = context;
    task.cache = cache.pages;
    AWQ_CUDA_TRY(parts.Allocate(DecodeParts(task) * sizeof(float)));
    task.parts = parts.data<float>();
    task.out = {out.data(), Element::kBF16};
    Timing times;
    AWQ_CUDA_TRY(Time(std::max(cache.pages.layers, sizes_.repeats), times, [&](int i) {
      task.layer = i % cache.pages.layers;
      return AttendDecode(task, nullptr);
    }));
    const double bytes =
        4.0 * batch * context * sizes_.kv_heads * sizes_.head_dim + 6.0 * batch * width;
    std::printf("| batch %d | %d | %.1f | %.0f %% | %.0f %% |\n", batch, context,
                times.median_s * 1e6, times.spread * 100,
                100 * bytes / times.median_s / copy_bytes_per_s_);
    return {};
  }

  Fault Prefill() {
    const int tokens = sizes_.prefill_tokens, width = sizes_.heads * sizes_.head_dim;
    Cache cache;
    AWQ_CUDA_TRY(MakeCache(1, tokens, 0, cache));
    const std::vector<Tile> some = TilesOf({tokens, 0, 0}, 0, sizes_.heads / sizes_.kv_heads);
    DeviceMemory queries, tiles, out;
    AWQ_CUDA_TRY(MakeFloats(queries, std::int64_t{tokens} * width));
    AWQ_CUDA_TRY(Upload(tiles, some));
    AWQ_CUDA_TRY(out.Allocate(Size(std::int64_t{tokens} * width * 2)));
    PrefillTask task;
    task.queries = queries.data<float>();
    task.stride = width;
    task.tiles = tiles.data<Tile>();
    task.tile_count = static_cast<int>(some.size());
    task.heads = sizes_.heads;
    task.cache = cache.pages;
    task.out = {out.data(), Element::kBF16};
    Timing times;
    AWQ_CUDA_TRY(Time(sizes_.repeats, times, [&](int) { return AttendPrefill(task, nullptr); }));
    const double pairs = 0.5 * tokens * (tokens + 1.0);  // each sees itself and those before it
    Print("attention, a prompt of " + Tokens(tokens), times, 4.0 * pairs * width);
    std::printf("|\n");
    return {};
  }

  // Beside the whole product, of which the Gram matrix takes half and the diagonal's tiles.
  Fault Gram() {
    const int tokens = sizes_.gram_tokens, width = sizes_.gram_width;
    DeviceMemory x, gram, y;
    AWQ_CUDA_TRY(MakeNumbers(x, Size(std::int64_t{tokens} * width * 2)));
    AWQ_CUDA_TRY(MakeFloats(gram, std::int64_t{width} * width));
    AWQ_CUDA_TRY(y.Allocate(Size(std::int64_t{tokens} * width * 2)));
    const GramTask task{x.data(), Element::kBF16, tokens, width, gram.data<float>()};
    Timing times, dense;
    AWQ_CUDA_TRY(Time(sizes_.repeats, times, [&](int) { return AccumulateGram(task, nullptr); }));
    const double tiles = 0.5 * (width / 128.0) * (width / 128.0 + 1);
    Print("x^T x of " + std::to_string(width) + " features, " + Tokens(tokens) + ", its upper half",
          times, 2.0 * 128 * 128 * tiles * tokens);
    if (!linears_.dense().is_open() && linears_.dense().Open()) {
      std::printf("not measured |\n");
      return {};
    }
    LinearCall call;
    call.weights.shape = {width, width};
    call.x = x.data();
    call.y = y.data();
    call.tokens = tokens;
    AWQ_CUDA_TRY(MeasureDense(linears_, call, dense, sizes_.rotated_bytes));
    std::printf("%.1f |\n", dense.median_s * 1e6);
    return {};
  }

  Fault Cross() {
    const int tokens = sizes_.gram_tokens, width = sizes_.gram_width;
    DeviceMemory x, left, gram;
    AWQ_CUDA_TRY(MakeNumbers(x, Size(std::int64_t{tokens} * width * 2)));
    AWQ_CUDA_TRY(MakeNumbers(left, Size(std::int64_t{tokens} * width * 2)));
    AWQ_CUDA_TRY(MakeFloats(gram, std::int64_t{width} * width));
    const GramTask task{x.data(), Element::kBF16, tokens, width, gram.data<float>(), left.data()};
    Timing times;
    AWQ_CUDA_TRY(Time(sizes_.repeats, times, [&](int) { return AccumulateGram(task, nullptr); }));
    Print("y^T x of " + std::to_string(width) + " features, " + Tokens(tokens), times,
          2.0 * width * width * tokens);
    std::printf("|\n");
    return {};
  }

  // Of the same inputs; every token in a row of 256 of the sketch.
  Fault Statistics() {
    constexpr int kRows = 256;
    const int tokens = sizes_.gram_tokens, width = sizes_.gram_width;
    const std::size_t parts = Size(std::int64_t{ColumnParts(tokens)} * width);
    std::vector<std::uint32_t> starts, all;
    for (int row = 0; row <= kRows; ++row) {
      starts.push_back(static_cast<std::uint32_t>(all.size()));
      for (int t = row; row < kRows && t < tokens; t += kRows) {
        all.push_back(static_cast<std::uint32_t>(t) | (t % 3 == 0 ? kSketchMinus : 0U));
      }
    }
    DeviceMemory x, sums, largest, nonfinite, part_sums, part_largest, sketch, firsts, of_rows;
    AWQ_CUDA_TRY(MakeNumbers(x, Size(std::int64_t{tokens} * width * 2)));
    AWQ_CUDA_TRY(Upload(sums, std::vector<double>(Size(width))));
    AWQ_CUDA_TRY(Upload(largest, std::vector<float>(Size(width))));
    AWQ_CUDA_TRY(Upload(nonfinite, std::vector<unsigned long long>(1)));
    AWQ_CUDA_TRY(part_sums.Allocate(parts * sizeof(double)));
    AWQ_CUDA_TRY(part_largest.Allocate(parts * sizeof(float)));
    AWQ_CUDA_TRY(MakeFloats(sketch, std::int64_t{kRows} * width));
    AWQ_CUDA_TRY(Upload(firsts, starts));
    AWQ_CUDA_TRY(Upload(of_rows, all));
    ColumnsTask columns;
    columns.x = {x.data(), Element::kBF16, tokens, width};
    columns.sums = sums.data<double>();
    columns.largest = largest.data<float>();
    columns.nonfinite = nonfinite.data<unsigned long long>();
    columns.part_sums = part_sums.data<double>();
    columns.part_largest = part_largest.data<float>();
    SketchTask sketches;
    sketches.x = columns.x;
    sketches.starts = firsts.data<std::uint32_t>();
    sketches.tokens = of_rows.data<std::uint32_t>();
    sketches.rows = kRows;
    sketches.sketch = sketch.data<float>();
    const std::string shape = " of " + std::to_string(width) + ", " + Tokens(tokens);
    Timing times;
    AWQ_CUDA_TRY(Time(sizes_.repeats, times, [&](int) { return AddColumns(columns, nullptr); }));
    Print("AddColumns" + shape, times);
    std::printf("|\n");
    AWQ_CUDA_TRY(Time(sizes_.repeats, times, [&](int) { return AddSketch(sketches, nullptr); }));
    Print("AddSketch" + shape, times);
    std::printf("|\n");
    return {};
  }

  Fault Norm(int tokens) {
    const int width = sizes_.width;
    DeviceMemory hidden, added, weight, out;
    AWQ_CUDA_TRY(MakeFloats(hidden, std::int64_t{tokens} * width));
    AWQ_CUDA_TRY(MakeFloats(added, std::int64_t{tokens} * width));
    AWQ_CUDA_TRY(MakeFloats(weight, width));
    AWQ_CUDA_TRY(out.Allocate(Size(std::int64_t{tokens} * width * 2)));
    NormTask task;
    task.hidden = hidden.data<float>();
    task.added = added.data<float>();
    task.weight = weight.data<float>();
    task.eps = 1e-5F;
    task.width = width;
    task.tokens = tokens;
    task.out = {out.data(), Element::kBF16};
    Timing times;
    AWQ_CUDA_TRY(Time(sizes_.repeats, times, [&](int) { return AddNorm(task, nullptr); }));
    Print("AddNorm of " + std::to_string(width) + ", " + Tokens(tokens), times);
    std::printf("|\n");
    return {};
  }

  Fault GateOf(int tokens) {
    const int width = sizes_.gate_width;
    DeviceMemory both, out;
    AWQ_CUDA_TRY(MakeFloats(both, std::int64_t{tokens} * width * 2));
    AWQ_CUDA_TRY(out.Allocate(Size(std::int64_t{tokens} * width * 2)));
    GateTask task;
    task.gate = both.data<float>();
    task.up = both.data<float>() + width;
    task.stride = 2 * width;
    task.tokens = tokens;
    task.width = width;
    task.out = {out.data(), Element::kBF16};
    Timing times;
    AWQ_CUDA_TRY(Time(sizes_.repeats, times, [&](int) { return Gate(task, nullptr); }));
    Print("Gate of " + std::to_string(width) + ", " + Tokens(tokens), times);
    std::printf("|\n");
    return {};
  }

  // A sequence's first tokens.
  Fault Rope(int tokens) {
    const int queries = sizes_.heads * sizes_.head_dim, keys = sizes_.kv_heads * sizes_.head_dim;
    Cache cache;
    AWQ_CUDA_TRY(MakeCache(1, tokens, 0, cache));
    std::vector<std::int32_t> positions(Size(tokens));
    for (std::size_t i = 0; i < positions.size(); ++i) {
      positions[i] = static_cast<std::int32_t>(i);
    }
    const std::vector<std::int32_t> slots(Size(tokens), 0);
    DeviceMemory rows, angles, at, of;
    AWQ_CUDA_TRY(MakeFloats(rows, std::int64_t{tokens} * (queries + 2 * keys)));
    AWQ_CUDA_TRY(MakeFloats(angles, std::int64_t{tokens} * sizes_.head_dim / 2));
    AWQ_CUDA_TRY(Upload(at, positions));
    AWQ_CUDA_TRY(Upload(of, slots));
    RopeTask task;
    task.queries = rows.data<float>();
    task.keys = rows.data<float>() + queries;
    task.values = task.keys + keys;
    task.stride = queries + 2 * keys;
    task.cosines = task.sines = angles.data<float>();
    task.at = {at.data<std::int32_t>(), of.data<std::int32_t>()};
    task.tokens = tokens;
    task.heads = sizes_.heads;
    task.cache = cache.pages;
    Timing times;
    AWQ_CUDA_TRY(Time(sizes_.repeats, times, [&](int) { return RopeAndStore(task, nullptr); }));
    Print("RopeAndStore of " + std::to_string(sizes_.heads) + " / " +
              std::to_string(sizes_.kv_heads) + " heads, " + Tokens(tokens),
          times);
    std::printf("|\n");
    return {};
  }

  // Sampling overwrites the logits: they are copied anew for each, and the copies' time taken off.
  Fault SampleOf(int rows, const std::string& how, const SampleState& state) {
    const std::size_t bytes = Size(std::int64_t{rows} * sizes_.vocab) * sizeof(float);
    const std::size_t copied = (bytes + 15) / 16 * 16;
    std::vector<float> some(copied / sizeof(float));
    std::mt19937 random(3);
    std::normal_distribution<float> normal(0, 3);
    std::generate(some.begin(), some.end(), [&] { return normal(random); });
    DeviceMemory from, logits, states, tokens;
    AWQ_CUDA_TRY(Upload(from, some));
    AWQ_CUDA_TRY(logits.Allocate(copied));
    AWQ_CUDA_TRY(Upload(states, std::vector<SampleState>(Size(rows), state)));
    AWQ_CUDA_TRY(tokens.Allocate(Size(rows) * sizeof(std::int32_t)));
    SampleTask task;
    task.logits = logits.data<float>();
    task.vocab = sizes_.vocab;
    task.rows = rows;
    task.states = states.data<SampleState>();
    task.tokens = tokens.data<std::int32_t>();
    const auto copy = [&](int) {
      return CopyOnDevice(logits.data(), from.data(), copied, nullptr);
    };
    Timing copies, times;
    AWQ_CUDA_TRY(Time(sizes_.repeats, copies, copy));
    AWQ_CUDA_TRY(Time(sizes_.repeats, times, [&](int i) {
      Fault fault = copy(i);
      return fault ? fault : Sample(task, nullptr);
    }));
    times.median_s -= copies.median_s;
    Print("Sample " + std::to_string(rows) + " of " + std::to_string(sizes_.vocab) + ", " + how,
          times);
    std::printf("|\n");
    return {};
  }

  Linears& linears_;
  double copy_bytes_per_s_;
  OpsBenchSizes sizes_;
};

inline Fault BenchOps(Linears& linears, double copy_bytes_per_s, const OpsBenchSizes& sizes) {
  return OpsBench(linears, copy_bytes_per_s, sizes).Run();
}

}  // namespace awq::cuda
