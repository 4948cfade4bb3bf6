// One product with packed weights: bytes of them a second, over all CPUs, from a set of matrices
// larger than the caches. The first line is what reading alone reaches in the same way.
#include <benchmark/benchmark.h>

#include <random>

#include "kernels/panels.h"

namespace awq::kernels {
namespace {

constexpr std::size_t kCopies = 24;  // of 4.5 MiB: beyond a shared cache of 96 MiB
constexpr std::size_t kOut = 2048;
constexpr std::size_t kIn = 4096;

ThreadPool& Pool() {
  static ThreadPool pool;
  return pool;
}

const std::vector<Panels>& Matrices() {
  static const std::vector<Panels> matrices = [] {
    std::mt19937 random(1);
    quant::QuantizedLinear linear{{4, 128, false},
                                  Matrix<std::uint8_t>(kOut, kIn),
                                  Matrix<float>(kOut, kIn / 128, RoundToF16(0.01F)),
                                  Matrix<std::uint8_t>(kOut, kIn / 128, 7)};
    for (auto& code : linear.codes.span()) code = static_cast<std::uint8_t>(random() % 16);
    std::vector<Panels> made;
    for (std::size_t i = 0; i < kCopies; ++i) made.emplace_back(Pool(), linear);
    return made;
  }();
  return matrices;
}

void Read(benchmark::State& state) {
  const std::size_t words = Matrices()[0].bytes() / 8;
  static std::vector<Buffer<std::uint64_t>> memory;
  while (memory.size() < kCopies) {
    memory.emplace_back(words);
    std::fill_n(memory.back().data(), words, memory.size());
  }
  constexpr std::size_t kParts = 64;
  std::vector<std::uint64_t> sums(kParts * 8);
  std::size_t which = 0;
  for (auto _ : state) {
    const std::uint64_t* from = memory[which++ % kCopies].data();
    Pool().ParallelFor(kParts, [&](std::size_t part, std::size_t) {
      std::uint64_t sum[8] = {};
      for (std::size_t i = part * (words / kParts); i + 8 <= (part + 1) * (words / kParts);
           i += 8) {
        for (std::size_t l = 0; l < 8; ++l) sum[l] ^= from[i + l];
      }
      for (std::size_t l = 0; l < 8; ++l) sums[part * 8 + l] = sum[l];
    });
    benchmark::DoNotOptimize(sums.data());
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(words * 8) * state.iterations());
}
BENCHMARK(Read)->UseRealTime();

void Multiply(benchmark::State& state, const Int8Loops* loops) {
  const auto tokens = static_cast<std::size_t>(state.range(0));
  Matrix<float> rows(tokens, kIn, 1.0F);
  Matrix<float> y(tokens, kOut);
  Int8Activations x;
  x.Assign(Pool(), rows, Matrices()[0].block_inputs());
  std::size_t which = 0;
  for (auto _ : state) {
    Matrices()[which++ % kCopies].ApplyWith(*loops, Pool(), x, y);
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(Matrices()[0].bytes()) * state.iterations());
  state.SetItemsProcessed(static_cast<std::int64_t>(tokens * kOut * kIn) * state.iterations());
}

}  // namespace
}  // namespace awq::kernels

int main(int argc, char** argv) {
  for (const awq::kernels::Int8Row& row : awq::kernels::Int8Rows()) {
    for (const int tokens : {1, 2, 4, 8, 64}) {
      benchmark::RegisterBenchmark(row.name, awq::kernels::Multiply, row.loops)
          ->Arg(tokens)
          ->UseRealTime();
    }
  }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
