// Packing and unpacking one 4096 x 4096 linear; bytes are those of both sides.
#include <benchmark/benchmark.h>

#include "pack/format.h"

namespace awq::pack {
namespace {

constexpr std::size_t kSize = 4096;
constexpr quant::Spec kSpec{4, 128, false};

quant::QuantizedLinear Linear() {
  quant::QuantizedLinear linear{kSpec, Matrix<std::uint8_t>(kSize, kSize, 5),
                                Matrix<F16>(kSize, kSize / 128, ToF16(0.01F)),
                                Matrix<std::uint8_t>(kSize, kSize / 128, 8)};
  return linear;
}

void Pack(benchmark::State& state) {
  const auto linear = Linear();
  const Format& format = *FindFormat("awq-gemm");
  for (auto _ : state) benchmark::DoNotOptimize(format.pack(linear));
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(kSize * kSize * 3 / 2));
}
BENCHMARK(Pack)->Unit(benchmark::kMillisecond);

void Unpack(benchmark::State& state) {
  const Format& format = *FindFormat("awq-gemm");
  const auto parts = format.pack(Linear());
  std::vector<TensorView> views;
  for (const PackedPart& part : parts) {
    views.push_back({part.info.dtype, part.info.shape, part.bytes.span()});
  }
  for (auto _ : state) {
    benchmark::DoNotOptimize(format.unpack(views, kSize, kSize, kSpec, "m"));
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(kSize * kSize * 3 / 2));
}
BENCHMARK(Unpack)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace awq::pack

BENCHMARK_MAIN();
