// Packing and unpacking one 4096 x 4096 linear; bytes are those of the packed side.
#include <benchmark/benchmark.h>

#include "pack/format.h"

namespace awq::pack {
namespace {

constexpr std::size_t kSize = 4096;
constexpr std::size_t kGroup = 128;
constexpr Form kForm{kSize, kSize, {4, kGroup, false}};

struct Stored {
  explicit Stored(const Format& format) {
    const quant::QuantizedLinear linear{kForm.spec, Matrix<std::uint8_t>(kSize, kSize, 5),
                                        Matrix<float>(kSize, kSize / kGroup, RoundToF16(0.01F)),
                                        Matrix<std::uint8_t>(kSize, kSize / kGroup, 8)};
    parts = Pack(format, linear, "m").value();
    for (PackedPart& part : parts) {
      views.push_back({part.info.dtype, part.info.shape, part.bytes.span()});
      pointers.push_back(part.bytes.data());
      bytes += part.bytes.size();
    }
  }
  std::vector<PackedPart> parts;
  std::vector<TensorView> views;
  std::vector<std::byte*> pointers;
  std::size_t bytes = 0;
};

// One stripe after another, as a conversion has them.
struct Stripe {
  Matrix<std::uint8_t> memory{kStripeRows, kSize + 64, 5};
  MatrixView<std::uint8_t> codes = memory.view().Cols(0, kSize);
  Matrix<float> scales{kStripeRows, kSize / kGroup, RoundToF16(0.01F)};
  Matrix<std::uint8_t> zeros{kStripeRows, kSize / kGroup, 8};
};

void PackStripes(benchmark::State& state, const Format* format) {
  Stored stored(*format);
  Stripe stripe;
  for (auto _ : state) {
    for (std::size_t row = 0; row < kSize; row += kStripeRows) {
      const Rows rows{row, stripe.codes, stripe.scales, stripe.zeros};
      benchmark::DoNotOptimize(PackRows(*format, kForm, rows, stored.pointers, "m"));
    }
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(stored.bytes));
}

void UnpackStripes(benchmark::State& state, const Format* format) {
  const Stored stored(*format);
  Stripe stripe;
  for (auto _ : state) {
    for (std::size_t row = 0; row < kSize; row += kStripeRows) {
      const MutableRows rows{row, stripe.codes, stripe.scales, stripe.zeros};
      benchmark::DoNotOptimize(UnpackRows(*format, kForm, stored.views, rows, "m"));
    }
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(stored.bytes));
}

}  // namespace
}  // namespace awq::pack

int main(int argc, char** argv) {
  using namespace awq::pack;
  for (const Format& format : Formats()) {
    const std::string name(format.name);
    benchmark::RegisterBenchmark(("Pack/" + name).c_str(), PackStripes, &format);
    benchmark::RegisterBenchmark(("Unpack/" + name).c_str(), UnpackStripes, &format);
  }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
