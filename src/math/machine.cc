#include "math/machine.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <oneapi/dnnl/dnnl.hpp>
#include <vector>

extern "C" void omp_set_num_threads(int);  // libgomp, which oneDNN brings; no OpenMP of our own

namespace awq::math {
namespace {

// Calls body until it has taken so long; calls a second.
template <class Body>
double Rate(double seconds, const Body& body) {
  const auto start = std::chrono::steady_clock::now();
  std::size_t calls = 0;
  std::chrono::duration<double> taken{};
  do {
    body();
    ++calls;
    taken = std::chrono::steady_clock::now() - start;
  } while (taken.count() < seconds);
  return static_cast<double>(calls) / taken.count();
}

}  // namespace

ReadProbe::ReadProbe(std::size_t bytes) : words_(bytes / sizeof(std::uint64_t)) {
  std::fill(words_.begin(), words_.end(), std::uint64_t{1});
}

double ReadProbe::BytesPerSecond(ThreadPool& pool, double seconds) {
  constexpr std::size_t kPartWords = std::size_t{1} << 16;
  constexpr std::size_t kLanes = 8;
  const std::size_t parts = words_.size() / kPartWords;
  std::vector<std::uint64_t> sums(parts);
  const auto pass = [&] {
    pool.ParallelFor(parts, [&](std::size_t part, std::size_t) {
      const std::uint64_t* from = words_.data() + part * kPartWords;
      std::array<std::uint64_t, kLanes> lanes{};
      for (std::size_t i = 0; i < kPartWords; i += kLanes) {
        for (std::size_t l = 0; l < kLanes; ++l) lanes[l] += from[i + l];
      }
      for (const std::uint64_t lane : lanes) sums[part] += lane;
    });
  };
  const double passes = Rate(seconds, pass);
  for (const std::uint64_t sum : sums) sum_ += sum;
  return passes * static_cast<double>(parts * kPartWords * sizeof(std::uint64_t));
}

struct ProductProbe::Parts {
  using Type = dnnl::memory::data_type;
  using Tag = dnnl::memory::format_tag;

  static Type Left(Product type) {
    return type == Product::kF32 ? Type::f32 : type == Product::kBF16 ? Type::bf16 : Type::u8;
  }
  static Type Right(Product type) { return type == Product::kInt8 ? Type::s8 : Left(type); }
  static dnnl::matmul::primitive_desc Describe(const dnnl::engine& engine, Product type,
                                               const Shape& shape) {
    const auto dim = [](std::size_t size) { return static_cast<dnnl::memory::dim>(size); };
    const dnnl::memory::desc a({dim(shape.m), dim(shape.k)}, Left(type), Tag::ab);
    const dnnl::memory::desc b({dim(shape.k), dim(shape.n)}, Right(type), Tag::any);
    const dnnl::memory::desc c({dim(shape.m), dim(shape.n)},
                               type == Product::kInt8 ? Type::s32 : Type::f32, Tag::ab);
#if DNNL_VERSION_MAJOR >= 3
    return {engine, a, b, c};
#else
    return {dnnl::matmul::desc(a, b, c), engine};
#endif
  }

  Parts(Product type, const Shape& shape)
      : operations(2.0 * static_cast<double>(shape.m) * static_cast<double>(shape.n) *
                   static_cast<double>(shape.k)),
        engine(dnnl::engine::kind::cpu, 0),
        stream(engine),
        description(Describe(engine, type, shape)),
        matmul(description),
        a(Zeros(description.src_desc())),
        b(Zeros(description.weights_desc())),
        c(Zeros(description.dst_desc())) {}

  dnnl::memory Zeros(const dnnl::memory::desc& desc) {
    memory.push_back(Buffer<std::byte>(desc.get_size()));
    std::fill(memory.back().begin(), memory.back().end(), std::byte{0});
    return {desc, engine, memory.back().data()};
  }

  double operations;
  dnnl::engine engine;
  dnnl::stream stream;
  dnnl::matmul::primitive_desc description;
  dnnl::matmul matmul;
  std::vector<Buffer<std::byte>> memory;
  dnnl::memory a, b, c;
};

ProductProbe::ProductProbe(Product type, const Shape& shape)
    : parts_(std::make_unique<Parts>(type, shape)) {}
ProductProbe::~ProductProbe() = default;

double ProductProbe::OperationsPerSecond(std::size_t threads, double seconds) {
  Parts& parts = *parts_;
  omp_set_num_threads(static_cast<int>(threads));
  const double products = Rate(seconds, [&] {
    parts.matmul.execute(
        parts.stream,
        {{DNNL_ARG_SRC, parts.a}, {DNNL_ARG_WEIGHTS, parts.b}, {DNNL_ARG_DST, parts.c}});
    parts.stream.wait();
  });
  omp_set_num_threads(1);  // as products elsewhere have it
  return products * parts.operations;
}

}  // namespace awq::math
