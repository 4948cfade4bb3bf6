// Attention of one layer over a cache, by what holds it: a new token (1), where bytes of keys and
// values a second count, and a prompt (512), where tokens do. Layers of TinyLlama's shape, taken in
// turns: together more than the caches hold. The last number is that of tokens in a page.
#include <benchmark/benchmark.h>

#include <random>

#include "transformer/attention.h"

namespace awq::transformer {
namespace {

constexpr std::size_t kLayers = 24;

void OverCache(benchmark::State& state, math::Precision precision, KvType type) {
  static ThreadPool pool;
  model::ModelConfig config;
  config.num_attention_heads = 32;
  config.num_key_value_heads = 4;
  config.head_dim = 64;
  const auto tokens = static_cast<std::size_t>(state.range(0));
  const auto seen = static_cast<std::size_t>(state.range(1));
  const CacheShape shape{.layers = kLayers,
                         .capacity_tokens = seen,
                         .type = type,
                         .page_tokens = static_cast<std::size_t>(state.range(2))};
  KvCache cache(config, precision, shape);
  AWQ_CHECK(cache.Reserve(Segment{seen, 0, 0}).ok());
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> row(config.kv_width());
  for (float& x : row) x = normal(random);
  for (std::size_t layer = 0; layer < kLayers; ++layer) {
    for (std::size_t t = 0; t < seen; ++t) cache.Store({layer, 0, t}, row, row);
  }
  Matrix<float> queries(tokens, config.q_width());
  for (float& x : queries.span()) x = normal(random);
  Matrix<float> out(tokens, config.q_width());
  Attention attention(pool);
  std::size_t layer = 0;
  for (auto _ : state) {
    attention.Run({&config, layer++ % kLayers, 0}, {{tokens, seen - tokens, 0}}, cache,
                  queries.view(), out);
  }
  const std::size_t bytes = KvCache::Bytes(config, precision, shape) / kLayers;
  state.SetBytesProcessed(static_cast<std::int64_t>(bytes) * state.iterations());
  state.SetItemsProcessed(static_cast<std::int64_t>(tokens) * state.iterations());
}

void Cases(benchmark::internal::Benchmark* bench) {
  bench->UseRealTime()->Args({1, 512, kPageTokens});
  for (const std::int64_t tokens : {1, 512}) {
    for (const std::int64_t page_tokens : {32, 64, 128, 256}) {
      bench->Args({tokens, 4096, page_tokens});
    }
  }
}
BENCHMARK_CAPTURE(OverCache, f32, math::Precision::kF32, KvType::kExact)->Apply(Cases);
BENCHMARK_CAPTURE(OverCache, bf16, math::Precision::kBF16, KvType::kExact)->Apply(Cases);
BENCHMARK_CAPTURE(OverCache, f16, math::Precision::kBF16, KvType::kF16)->Apply(Cases);
BENCHMARK_CAPTURE(OverCache, int8, math::Precision::kBF16, KvType::kInt8)->Apply(Cases);

}  // namespace
}  // namespace awq::transformer

BENCHMARK_MAIN();
