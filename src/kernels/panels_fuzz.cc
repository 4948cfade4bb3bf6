// Every set of instructions that this CPU has must give the bits of the others where that is
// promised, and what double arithmetic gives within the rounding that is counted.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

#include "kernels/panels.h"
#include "kernels/test_panels.h"

namespace {

using namespace awq;
using namespace awq::kernels;

void Require(bool condition) {
  if (!condition) std::abort();
}

// Takes bytes off the front of the input; when it is used up, those of a generator that it starts.
class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : data_(data, size) {
    for (const std::uint8_t byte : data_) Advance(byte);
  }
  std::uint8_t Byte() {
    if (data_.empty()) return Advance(1);
    const std::uint8_t byte = data_[0];
    data_ = data_.subspan(1);
    return byte;
  }
  std::uint16_t Two() { return static_cast<std::uint16_t>(Byte() << 8 | Byte()); }

 private:
  // Knuth's MMIX generator.
  std::uint8_t Advance(std::uint64_t with) {
    random_ = random_ * 6364136223846793005U + 1442695040888963407U + with;
    return static_cast<std::uint8_t>(random_ >> 56);
  }
  std::span<const std::uint8_t> data_;
  std::uint64_t random_ = 0;
};

// Any finite fp16, or bf16 of 2^-60 to 2^61, with which no float overflows or is below the normal.
float MakeScale(Input& input, DType dtype) {
  const unsigned bits = input.Two();
  if (dtype == DType::kF16) {
    const bool finite = (bits & 0x7c00U) != 0x7c00U;
    return ToFloat(F16{static_cast<std::uint16_t>(finite ? bits : bits & 0xbfffU)});
  }
  const unsigned exponent = 127 - 60 + (bits >> 7 & 0xffU) % 121;
  return ToFloat(BF16{static_cast<std::uint16_t>((bits & 0x807fU) | exponent << 7)});
}

quant::QuantizedLinear MakeLinear(Input& input) {
  const int bits = 2 + input.Byte() % 7;
  const std::size_t group = 8 * (1 + input.Byte() % 33U);
  const std::size_t groups = 1 + input.Byte() % 3U;
  const std::size_t out = 1 + input.Byte() % 20U;
  const std::uint8_t flags = input.Byte();
  const bool symmetric = (flags & 1) != 0;
  const DType scale_dtype = (flags & 2) != 0 ? DType::kBF16 : DType::kF16;
  quant::QuantizedLinear linear{{bits, group, symmetric, scale_dtype},
                                Matrix<std::uint8_t>(out, group * groups),
                                Matrix<float>(out, groups),
                                Matrix<std::uint8_t>(out, groups)};
  const int most = (1 << bits) - 1;
  const auto code = [&] { return static_cast<std::uint8_t>(input.Byte() & most); };
  for (float& scale : linear.scales.span()) scale = MakeScale(input, scale_dtype);
  for (auto& zero : linear.zeros.span()) {
    zero = symmetric ? static_cast<std::uint8_t>(1 << (bits - 1)) : code();
  }
  for (auto& each : linear.codes.span()) each = code();
  return linear;
}

// Any floats, or numbers of 16 bits at 2^-20 to 2^20.
Matrix<float> MakeInputs(Input& input, std::size_t in_features, bool any) {
  Matrix<float> x(1 + input.Byte() % 9U, in_features);
  for (float& value : x.span()) {
    const std::uint16_t number = input.Two();
    if (any) {
      value = std::bit_cast<float>(std::uint32_t{number} << 16 | input.Two());
    } else {
      value = std::ldexp(static_cast<float>(static_cast<std::int16_t>(number)),
                         input.Byte() % 41 - 20 - 8);
    }
  }
  return x;
}

struct Case {
  ThreadPool& pool;
  const quant::QuantizedLinear& linear;
  const Panels& panels;
  const Matrix<float>& x;
};

template <class Activations>
Matrix<float> Apply(const Case& c, const Activations& x) {
  Matrix<float> y(c.x.rows(), c.linear.out_features());
  c.panels.Apply(c.pool, x, y);
  return y;
}

void RequireSame(const Matrix<float>& a, const Matrix<float>& b) {
  Require(std::ranges::equal(a.span(), b.span(), [](float one, float other) {
    return std::bit_cast<std::uint32_t>(one) == std::bit_cast<std::uint32_t>(other) ||
           (std::isnan(one) && std::isnan(other));
  }));
}

void RequireNear(float y, const Expected& want) {
  Require(std::fabs(static_cast<double>(y) - want.value) <= want.error);
}

void CheckInt8(const Case& c, bool finite) {
  const Int8Blocks blocks = c.panels.int8_blocks();
  const std::size_t block = blocks.block_inputs;
  const std::size_t in = c.linear.in_features();
  const auto multiply = [&](const PanelRow& set) {
    Int8Activations x(set);
    x.Assign(c.pool, c.x, blocks);
    return Apply(c, x);
  };
  const Matrix<float> first = multiply(PanelRows().front());
  for (const PanelRow& set : PanelRows()) RequireSame(multiply(set), first);
  for (std::size_t t = 0; finite && t < c.x.rows(); ++t) {
    std::vector<std::int8_t> codes(in);
    std::vector<float> scales(in / block);
    std::vector<float> sums(in / block);
    baseline::kInt8Loops.quantize(c.x.row(t), c.linear.groups(), blocks, codes.data(),
                                  scales.data(), sums.data());
    for (std::size_t r = 0; r < c.linear.out_features(); ++r) {
      RequireNear(first(t, r), ExpectInt8(c.linear, r, codes, scales));
    }
  }
}

// The CPU's own products of bf16 are promised nothing but the rounding.
void CheckExact(const Case& c, math::Precision precision, bool finite) {
  const auto multiply = [&](const PanelRow& set) {
    ExactActivations x(set);
    x.Assign(c.pool, c.x, precision, c.panels.group_inputs());
    return Apply(c, x);
  };
  Matrix<float> rounded(c.x.rows(), c.x.cols());
  std::ranges::transform(c.x.span(), rounded.span().begin(), [&](float value) {
    return precision == math::Precision::kBF16 ? ToFloat(ToBF16(value)) : value;
  });
  const auto check = [&](const Matrix<float>& y) {
    for (std::size_t i = 0; finite && i < y.size(); ++i) {
      const float* row = rounded.row(i / y.cols());
      RequireNear(y.span()[i], ExpectExact(c.linear, i % y.cols(), row));
    }
  };
  const Matrix<float> last = multiply(PanelRows().back());
  check(last);
  for (const PanelRow& set : PanelRows()) {
    const Matrix<float> y = multiply(set);
    const bool own = precision == math::Precision::kBF16 && set.exact->multiply_bf16 != nullptr;
    own ? check(y) : RequireSame(y, last);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static ThreadPool pool(1);
  Input input(data, size);
  const bool finite = input.Byte() % 4 != 0;
  const quant::QuantizedLinear linear = MakeLinear(input);
  const Matrix<float> x = MakeInputs(input, linear.in_features(), !finite);
  Require(Panels::CanHold(linear));
  const Panels panels(pool, linear);
  const Case all{pool, linear, panels, x};
  CheckInt8(all, finite);
  CheckExact(all, math::Precision::kF32, finite);
  CheckExact(all, math::Precision::kBF16, finite);
  return 0;
}
