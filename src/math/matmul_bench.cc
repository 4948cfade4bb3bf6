// Our products on the shapes of TinyLlama-1.1B (hidden 2048, ffn 5632), each beside one plain call
// of oneDNN with its own threading over all CPUs. items_per_second is FLOP/s; a Gram product counts
// the full square on both sides, of which ours computes only the upper half.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <oneapi/dnnl/dnnl.hpp>
#include <random>

#include "math/matmul.h"
extern "C" void omp_set_num_threads(int);

namespace awq::math {
namespace {

constexpr std::size_t kTokens = 2048;

template <class T>
Matrix<T> Random(std::size_t rows, std::size_t cols) {
  Matrix<T> m(rows, cols);
  std::mt19937 random(1);
  std::uniform_real_distribution<float> uniform(-1, 1);
  for (T& x : m.span()) {
    if constexpr (std::is_same_v<T, BF16>) {
      x = ToBF16(uniform(random));
    } else {
      x = uniform(random);
    }
  }
  return m;
}

ThreadPool& Pool() {
  static ThreadPool pool;
  return pool;
}

void CountFlop(benchmark::State& state, std::size_t m, std::size_t n, std::size_t k) {
  const double flop =
      2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
  state.SetItemsProcessed(static_cast<std::int64_t>(flop) * state.iterations());
}

template <class T>
bool Skipped(benchmark::State& state) {
  if (std::is_same_v<T, float> || HasFastBF16()) return false;
  state.SkipWithError("this CPU has no bf16 instructions");
  return true;
}

// c [m, n] = a [m, k] b [k, n]; `tag`s say which of the two is stored transposed.
template <class T>
class PlainProduct {
 public:
  using Tag = dnnl::memory::format_tag;
  PlainProduct(std::size_t m, std::size_t n, std::size_t k, Tag a, Tag b)
      : engine_(dnnl::engine::kind::cpu, 0), stream_(engine_) {
    const auto type =
        std::is_same_v<T, BF16> ? dnnl::memory::data_type::bf16 : dnnl::memory::data_type::f32;
    const auto dim = [](std::size_t size) { return static_cast<dnnl::memory::dim>(size); };
    a_ = {{dim(m), dim(k)}, type, a};
    b_ = {{dim(k), dim(n)}, type, b};
    c_ = {{dim(m), dim(n)}, dnnl::memory::data_type::f32, Tag::ab};
    matmul_ = dnnl::matmul(dnnl::matmul::primitive_desc(dnnl::matmul::desc(a_, b_, c_), engine_));
  }

  void Run(const Matrix<T>& a, const Matrix<T>& b, Matrix<float>& c) {
    const auto memory = [&](const dnnl::memory::desc& desc, const void* data) {
      return dnnl::memory(desc, engine_, const_cast<void*>(data));
    };
    matmul_.execute(stream_, {{DNNL_ARG_SRC, memory(a_, a.data())},
                              {DNNL_ARG_WEIGHTS, memory(b_, b.data())},
                              {DNNL_ARG_DST, memory(c_, c.data())}});
    stream_.wait();
  }

 private:
  dnnl::engine engine_;
  dnnl::stream stream_;
  dnnl::memory::desc a_, b_, c_;
  dnnl::matmul matmul_;
};

// Ours keeps oneDNN to the calling thread; the plain product wants all CPUs.
struct AllCpus {
  AllCpus() { omp_set_num_threads(static_cast<int>(AvailableCpus())); }
  ~AllCpus() { omp_set_num_threads(1); }
};

template <class T>
void BM_ApplyWeights(benchmark::State& state) {
  if (Skipped<T>(state)) return;
  const auto tokens = static_cast<std::size_t>(state.range(0));
  const auto out = static_cast<std::size_t>(state.range(1));
  const auto in = static_cast<std::size_t>(state.range(2));
  const Matrix<T> x = Random<T>(tokens, in);
  const Matrix<T> w = Random<T>(out, in);
  Matrix<float> y(tokens, out);
  for (auto _ : state) ApplyWeights(Pool(), x.view(), w.view(), y);
  CountFlop(state, tokens, out, in);
}

template <class T>
void BM_PlainApplyWeights(benchmark::State& state) {
  if (Skipped<T>(state)) return;
  const AllCpus all;
  const auto tokens = static_cast<std::size_t>(state.range(0));
  const auto out = static_cast<std::size_t>(state.range(1));
  const auto in = static_cast<std::size_t>(state.range(2));
  const Matrix<T> x = Random<T>(tokens, in);
  const Matrix<T> w = Random<T>(out, in);
  Matrix<float> y(tokens, out);
  using Tag = dnnl::memory::format_tag;
  PlainProduct<T> product(tokens, out, in, Tag::ab, Tag::ba);
  for (auto _ : state) product.Run(x, w, y);
  CountFlop(state, tokens, out, in);
}

template <class T>
void BM_AccumulateGram(benchmark::State& state) {
  if (Skipped<T>(state)) return;
  const auto n = static_cast<std::size_t>(state.range(0));
  const Matrix<T> x = Random<T>(kTokens, n);
  Matrix<float> gram(n, n, 0.0F);
  for (auto _ : state) AccumulateGram(Pool(), x.view(), gram);
  CountFlop(state, n, n, kTokens);
}

template <class T>
void BM_PlainGram(benchmark::State& state) {
  if (Skipped<T>(state)) return;
  const AllCpus all;
  const auto n = static_cast<std::size_t>(state.range(0));
  const Matrix<T> x = Random<T>(kTokens, n);
  Matrix<float> gram(n, n);
  using Tag = dnnl::memory::format_tag;
  PlainProduct<T> product(n, n, kTokens, Tag::ba, Tag::ab);
  for (auto _ : state) product.Run(x, x, gram);
  CountFlop(state, n, n, kTokens);
}

void Shapes(benchmark::internal::Benchmark* bench) {
  for (std::int64_t tokens : {1, 2, 3, 4, 8, 64, 2048}) {
    bench->Args({tokens, 2048, 5632})->Args({tokens, 5632, 2048})->Args({tokens, 2048, 2048});
  }
  bench->ArgNames({"tokens", "out", "in"})->MeasureProcessCPUTime()->UseRealTime();
}
void Widths(benchmark::internal::Benchmark* bench) {
  bench->Arg(2048)->Arg(5632)->ArgName("n")->MeasureProcessCPUTime()->UseRealTime();
}

BENCHMARK(BM_ApplyWeights<float>)->Apply(Shapes);
BENCHMARK(BM_PlainApplyWeights<float>)->Apply(Shapes);
BENCHMARK(BM_ApplyWeights<BF16>)->Apply(Shapes);
BENCHMARK(BM_PlainApplyWeights<BF16>)->Apply(Shapes);
BENCHMARK(BM_AccumulateGram<float>)->Apply(Widths);
BENCHMARK(BM_PlainGram<float>)->Apply(Widths);
BENCHMARK(BM_AccumulateGram<BF16>)->Apply(Widths);
BENCHMARK(BM_PlainGram<BF16>)->Apply(Widths);

}  // namespace
}  // namespace awq::math

BENCHMARK_MAIN();
