// One block of TinyLlama-1.1B (hidden 2048, ffn 5632, 32 heads over 4 kv heads): what the search
// costs. AWQ_BENCH_THREADS sets the number of threads (default: all).
#include <benchmark/benchmark.h>

#include <cmath>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "base/memory.h"
#include "search/awq.h"
#include "search/gram_loss.h"
#include "search/scale_search.h"

namespace awq::search {
namespace {

ThreadPool& Pool() {
  static ThreadPool pool([] {
    const char* threads = std::getenv("AWQ_BENCH_THREADS");
    return threads == nullptr ? std::size_t{0} : std::size_t{std::stoul(threads)};
  }());
  return pool;
}

Matrix<float> RandomMatrix(std::size_t rows, std::size_t cols, unsigned seed) {
  Matrix<float> m(rows, cols);
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(-0.05F, 0.05F);
  for (float& x : m.span()) x = uniform(random);
  return m;
}

// Inputs with channels of very different sizes; 2048 tokens make as full a Gram matrix as more.
SiteStatistics MakeStatistics(std::size_t features) {
  Matrix<float> x = RandomMatrix(2048, features, 5);
  std::mt19937 random(6);
  std::normal_distribution<float> normal;
  std::vector<float> size(features);
  for (float& s : size) s = std::exp(normal(random));
  for (std::size_t r = 0; r < x.rows(); ++r) {
    for (std::size_t c = 0; c < features; ++c) x(r, c) *= size[c];
  }
  StatisticsAccumulator accumulator(features);
  accumulator.Add(Pool(), x);
  return std::move(accumulator).Finish();
}

struct Site {
  std::vector<Matrix<float>> weights;
  std::vector<MatrixView<const float>> views;
  std::vector<bool> clipped;
  SiteStatistics statistics;

  Site(std::size_t features, const std::vector<std::size_t>& outs, std::vector<bool> clipped_in)
      : clipped(std::move(clipped_in)), statistics(MakeStatistics(features)) {
    for (std::size_t out : outs) weights.push_back(RandomMatrix(out, features, 9));
    for (const Matrix<float>& w : weights) views.push_back(w);
  }
};

std::vector<Site>& Block() {
  static std::vector<Site> sites = [] {
    std::vector<Site> made;
    made.emplace_back(2048, std::vector<std::size_t>{2048, 256, 256},
                      std::vector<bool>{false, false, true});
    made.emplace_back(2048, std::vector<std::size_t>{2048}, std::vector<bool>{true});
    made.emplace_back(2048, std::vector<std::size_t>{5632, 5632}, std::vector<bool>{true, true});
    made.emplace_back(5632, std::vector<std::size_t>{2048}, std::vector<bool>{true});
    return made;
  }();
  return sites;
}

quant::Spec SpecOf(const benchmark::State& state) {
  return {static_cast<int>(state.range(0)), 128, false};
}

void SetFlops(benchmark::State& state, double flops) {
  state.counters["FLOP/s"] = benchmark::Counter(flops * static_cast<double>(state.iterations()),
                                                benchmark::Counter::kIsRate);
}

void BM_SearchScale(benchmark::State& state) {
  for (auto _ : state) {
    for (Site& site : Block()) {
      benchmark::DoNotOptimize(SearchScale(Pool(), site.views, site.statistics, SpecOf(state)));
    }
  }
}

void BM_ExactLoss(benchmark::State& state) {
  double flops = 0;
  for (auto _ : state) {
    flops = 0;
    for (Site& site : Block()) {
      const Scale scale = ActivationScale(site.statistics.mean_abs, 0.5);
      benchmark::DoNotOptimize(
          ExactScaleLoss(Pool(), {site.views, SpecOf(state)}, scale, site.statistics.gram));
      for (const auto& w : site.views) {
        flops += static_cast<double>(w.rows) * static_cast<double>(w.cols * w.cols);
      }
    }
  }
  SetFlops(state, flops);
}

void BM_SketchLosses(benchmark::State& state) {
  double flops = 0;
  for (auto _ : state) {
    flops = 0;
    for (Site& site : Block()) {
      const std::vector<Scale> scales(20, ActivationScale(site.statistics.mean_abs, 0.5));
      benchmark::DoNotOptimize(
          SketchScaleLosses(Pool(), {site.views, SpecOf(state)}, scales, site.statistics.sketch));
      for (const auto& w : site.views) {
        flops += 20 * 2.0 * static_cast<double>(w.rows * w.cols * site.statistics.sketch.rows());
      }
    }
  }
  SetFlops(state, flops);
}

void BM_SearchClip(benchmark::State& state) {
  double flops = 0;
  for (auto _ : state) {
    flops = 0;
    for (Site& site : Block()) {
      for (std::size_t k = 0; k < site.views.size(); ++k) {
        if (!site.clipped[k]) continue;
        benchmark::DoNotOptimize(
            SearchClip(Pool(), site.views[k], site.statistics.gram, SpecOf(state)));
        flops += 10 * 2 * 128.0 * static_cast<double>(site.views[k].rows * site.views[k].cols);
      }
    }
  }
  SetFlops(state, flops);
}

void BM_Round(benchmark::State& state) {
  for (auto _ : state) {
    for (Site& site : Block()) {
      for (const auto& w : site.views) benchmark::DoNotOptimize(Round(Pool(), w, SpecOf(state)));
    }
  }
}

// Everything that quantizing the block costs after the statistics, and its memory.
void BM_WholeBlock(benchmark::State& state) {
  Block();
  const std::size_t before = ReadMemoryUse().allocated_bytes;
  for (auto _ : state) {
    for (Site& site : Block()) {
      const ScaleChoice choice = SearchScale(Pool(), site.views, site.statistics, SpecOf(state));
      ScaleStatistics(Pool(), choice.scale, site.statistics);
      for (std::size_t k = 0; k < site.views.size(); ++k) {
        Clip clip;
        if (site.clipped[k]) {
          clip = SearchClip(Pool(), site.views[k], site.statistics.gram, SpecOf(state));
        }
        benchmark::DoNotOptimize(
            Round(Pool(), site.views[k], SpecOf(state), site.clipped[k] ? &clip : nullptr));
      }
      state.PauseTiming();
      std::vector<float> inverse;
      for (float s : choice.scale) inverse.push_back(1 / s);
      ScaleStatistics(Pool(), inverse, site.statistics);
      state.ResumeTiming();
    }
  }
  state.counters["extra_MiB_at_end"] =
      static_cast<double>(ReadMemoryUse().allocated_bytes - before) / (1 << 20);
}

void BM_Statistics(benchmark::State& state) {
  const auto features = static_cast<std::size_t>(state.range(0));
  const Matrix<float> x = RandomMatrix(4096, features, 1);
  for (auto _ : state) {
    StatisticsAccumulator accumulator(features);
    accumulator.Add(Pool(), x);
    benchmark::DoNotOptimize(std::move(accumulator).Finish());
  }
}

#define AWQ_BLOCK_BENCHMARK(name)     \
  BENCHMARK(name)                     \
      ->Arg(4)                        \
      ->Arg(3)                        \
      ->Unit(benchmark::kMillisecond) \
      ->MeasureProcessCPUTime()       \
      ->UseRealTime()
AWQ_BLOCK_BENCHMARK(BM_ExactLoss);
AWQ_BLOCK_BENCHMARK(BM_SketchLosses);
AWQ_BLOCK_BENCHMARK(BM_SearchScale);
AWQ_BLOCK_BENCHMARK(BM_SearchClip);
AWQ_BLOCK_BENCHMARK(BM_Round);
AWQ_BLOCK_BENCHMARK(BM_WholeBlock);
BENCHMARK(BM_Statistics)
    ->Arg(2048)
    ->Arg(5632)
    ->Unit(benchmark::kMillisecond)
    ->MeasureProcessCPUTime()
    ->UseRealTime();

}  // namespace
}  // namespace awq::search

BENCHMARK_MAIN();
