// One product with packed weights of 3, 4 and 8 bits: bytes of them a second, over all CPUs, from a
// set of matrices larger than the caches. The first line is what reading alone reaches in the same
// way.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <map>
#include <memory>
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

const std::vector<Panels>& Matrices(int bits) {
  static std::map<int, std::vector<Panels>> matrices;
  std::vector<Panels>& made = matrices[bits];
  if (!made.empty()) return made;
  std::mt19937 random(1);
  quant::QuantizedLinear linear{{bits, 128, false},
                                Matrix<std::uint8_t>(kOut, kIn),
                                Matrix<float>(kOut, kIn / 128, RoundToF16(0.01F)),
                                Matrix<std::uint8_t>(kOut, kIn / 128, 3)};
  for (auto& code : linear.codes.span()) code = static_cast<std::uint8_t>(random() % (1U << bits));
  for (std::size_t i = 0; i < kCopies; ++i) made.emplace_back(Pool(), linear);
  return made;
}

void Read(benchmark::State& state) {
  const std::size_t words = Matrices(4)[0].bytes() / 8;
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

template <class Activations>
void Multiply(benchmark::State& state, int bits, const Activations& x) {
  const std::size_t tokens = x.tokens();
  Matrix<float> y(tokens, kOut);
  std::size_t which = 0;
  const std::vector<Panels>& matrices = Matrices(bits);
  for (auto _ : state) matrices[which++ % kCopies].Apply(Pool(), x, y);
  state.SetBytesProcessed(static_cast<std::int64_t>(matrices[0].bytes()) * state.iterations());
  state.SetItemsProcessed(static_cast<std::int64_t>(tokens * kOut * kIn) * state.iterations());
}

}  // namespace
}  // namespace awq::kernels

int main(int argc, char** argv) {
  using namespace awq::kernels;
  const auto add = [](const std::string& name, auto x) {
    auto shared = std::make_shared<decltype(x)>(std::move(x));
    for (const int bits : {3, 4, 8}) {
      benchmark::RegisterBenchmark(
          fmt::format("{} bits/{}", bits, name).c_str(),
          [shared, bits](benchmark::State& state) { Multiply(state, bits, *shared); })
          ->UseRealTime();
    }
  };
  for (const PanelRow& set : PanelRows()) {
    for (const std::size_t tokens : {1U, 2U, 4U, 8U, 64U}) {
      const awq::Matrix<float> rows(tokens, kIn, 1.0F);
      Int8Activations int8(set);
      int8.Assign(Pool(), rows, Matrices(4)[0].int8_blocks());
      add(fmt::format("{}/int8/{}", set.name, tokens), std::move(int8));
      for (const auto precision : {awq::math::Precision::kF32, awq::math::Precision::kBF16}) {
        const bool is_f32 = precision == awq::math::Precision::kF32;
        if (!is_f32 && set.exact->multiply_bf16 == nullptr) continue;
        ExactActivations exact(set);
        exact.Assign(Pool(), rows, precision, Matrices(4)[0].group_inputs());
        add(fmt::format("{}/{}/{}", set.name, is_f32 ? "f32" : "bf16", tokens), std::move(exact));
      }
    }
  }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
