// Linears for tests and benchmarks, without GoogleTest: made, computed in double arithmetic and
// compared, whatever computed them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "cuda/linear.h"
#include "cuda/numbers.h"
#include "cuda/weights.h"

namespace awq::cuda {

struct PackedWeights {
  explicit PackedWeights(const WeightLayout& layout)
      : codes(layout.codes_bytes, 0xff),
        scales(layout.scales_bytes / 2, 0x7e00),
        zeros(layout.zeros_bytes, 0xff) {}
  PackedArrays arrays() { return {codes.data(), scales.data(), zeros.data()}; }

  // Aligned as the device's memory is, which the emulator checks.
  template <class T>
  struct Aligned {
    using value_type = T;
    Aligned() = default;
    template <class U>
    explicit Aligned(const Aligned<U>&) {}
    T* allocate(std::size_t n) {
      return static_cast<T*>(::operator new (n * sizeof(T), std::align_val_t{256}));
    }
    void deallocate(T* p, std::size_t) { ::operator delete (p, std::align_val_t{256}); }
    bool operator==(const Aligned&) const { return true; }
  };
  std::vector<std::uint8_t, Aligned<std::uint8_t>> codes;
  std::vector<std::uint16_t, Aligned<std::uint16_t>> scales;
  std::vector<std::uint8_t, Aligned<std::uint8_t>> zeros;
};

// Random codes, zeros of the same range, scales about 2^-6.
struct TestWeights {
  TestWeights(const WeightShape& s, unsigned seed) : shape(s) {
    std::mt19937 random(seed);
    const auto outputs = static_cast<std::size_t>(s.outputs);
    codes.resize(outputs * static_cast<std::size_t>(s.inputs));
    scales.resize(outputs * static_cast<std::size_t>(LayOut(s).groups));
    zeros.resize(scales.size());
    const auto code = [&] { return static_cast<std::uint8_t>(random() >> (32 - s.bits)); };
    std::generate(codes.begin(), codes.end(), code);
    std::generate(zeros.begin(), zeros.end(), code);
    for (std::uint16_t& scale : scales) {
      scale = FromFloat<Half>(static_cast<float>(128 + random() % 256) * 0x1p-14f).bits;
    }
  }

  PackedWeights Pack() const {
    const WeightLayout layout = LayOut(shape);
    PackedWeights packed(layout);
    PackPanels(shape, 0, layout.panels, {codes.data(), scales.data(), zeros.data()},
               packed.arrays());
    return packed;
  }
  double Value(int row, int input) const {
    const int groups = LayOut(shape).groups;
    const auto at = static_cast<std::size_t>(row) * static_cast<std::size_t>(groups) +
                    static_cast<std::size_t>(input / shape.group_inputs);
    const int code = codes[static_cast<std::size_t>(row) * static_cast<std::size_t>(shape.inputs) +
                           static_cast<std::size_t>(input)];
    return static_cast<double>(ToFloat(Half{scales[at]})) * (code - zeros[at]);
  }

  WeightShape shape;
  std::vector<std::uint8_t> codes;
  std::vector<std::uint16_t> scales;
  std::vector<std::uint8_t> zeros;
};

struct LinearRow {
  WeightShape shape;
  int tokens = 1;
  Float x_type = Float::kHalf;
  Float y_type = Float::kSingle;
  bool has_bias = false;
  int y_gap = 0;  // elements between rows of y

  std::size_t y_stride() const { return static_cast<std::size_t>(shape.outputs + y_gap); }
};

inline std::string Describe(const LinearRow& row) {
  return std::to_string(row.shape.outputs) + " x " + std::to_string(row.shape.inputs) + ", " +
         std::to_string(row.shape.bits) + " bits, groups of " +
         std::to_string(row.shape.group_inputs) + ", " + std::to_string(row.tokens) +
         " tokens of " + (row.x_type == Float::kHalf ? "f16" : "bf16") +
         (row.y_type == Float::kSingle ? "" : ", rounded") + (row.has_bias ? ", bias" : "") +
         (row.y_gap > 0 ? ", rows apart" : "");
}

inline float FromBits(Float type, std::uint16_t bits) {
  return type == Float::kHalf ? ToFloat(Half{bits}) : ToFloat(Bfloat16{bits});
}

struct LinearProblem {
  explicit LinearProblem(const LinearRow& r, unsigned seed = 1)
      : row(r), weights(r.shape, seed), packed(weights.Pack()) {
    std::mt19937 random(seed + 1);
    const auto value = [&] { return static_cast<float>(random() % 2001) * 1e-3f - 1.0f; };
    x.resize(static_cast<std::size_t>(r.tokens) * static_cast<std::size_t>(r.shape.inputs));
    for (std::uint16_t& element : x) {
      element = r.x_type == Float::kHalf ? FromFloat<Half>(value()).bits
                                         : FromFloat<Bfloat16>(value()).bits;
    }
    bias.resize(r.has_bias ? static_cast<std::size_t>(r.shape.outputs) : 0);
    std::generate(bias.begin(), bias.end(), value);
  }

  // Bytes of y, which begins as NaN.
  std::vector<unsigned char> EmptyOutput() const {
    const std::size_t size = row.y_type == Float::kSingle ? 4 : 2;
    return std::vector<unsigned char>(size * static_cast<std::size_t>(row.tokens) * row.y_stride(),
                                      0xff);
  }

  LinearRow row;
  TestWeights weights;
  PackedWeights packed;
  std::vector<std::uint16_t, PackedWeights::Aligned<std::uint16_t>> x;
  std::vector<float> bias;
};

inline bool GapsAreTouched(const LinearRow& row, const std::vector<unsigned char>& y) {
  const std::size_t size = row.y_type == Float::kSingle ? 4 : 2;
  const std::size_t written = size * static_cast<std::size_t>(row.shape.outputs);
  for (std::size_t at = 0; at < y.size(); ++at) {
    if (at % (size * row.y_stride()) >= written && y[at] != 0xff) return true;
  }
  return false;
}

// Says where y differs from double arithmetic by more than the roundings of fp32 sums and of y can
// make: empty where nowhere. Products are exact. Every sum that a kernel forms passes at most
// `roundings` of 2^-23 of the terms' magnitudes: 17 in a tensor core's product (which may
// truncate), of which 4 follow each other, one for each 64 inputs, and 64 for warps, parts and the
// bias.
// Where weights are dense, each is rounded to x's type, and y twice if there is a bias.
inline std::string Compare(const LinearProblem& problem, const std::vector<unsigned char>& y,
                           bool weights_are_dense = false) {
  const LinearRow& row = problem.row;
  if (GapsAreTouched(row, y)) return Describe(row) + ": wrote between the rows";
  const double roundings = 4 * 17 + row.shape.inputs / 32 + 64;
  const double of_y = row.y_type == Float::kHalf       ? 0x1p-11
                      : row.y_type == Float::kBfloat16 ? 0x1p-8
                                                       : 0;
  const double of_weights = !weights_are_dense ? 0 : row.x_type == Float::kHalf ? 0x1p-11 : 0x1p-8;
  std::vector<double> weights(static_cast<std::size_t>(row.shape.inputs));
  for (int output = 0; output < row.shape.outputs; ++output) {
    for (int k = 0; k < row.shape.inputs; ++k) {
      weights[static_cast<std::size_t>(k)] = problem.weights.Value(output, k);
    }
    for (int token = 0; token < row.tokens; ++token) {
      double sum = row.has_bias ? double{problem.bias[static_cast<std::size_t>(output)]} : 0;
      double magnitude = std::abs(sum);
      const std::uint16_t* x = problem.x.data() + static_cast<std::size_t>(token) * weights.size();
      for (std::size_t k = 0; k < weights.size(); ++k) {
        const double term = weights[k] * double{FromBits(row.x_type, x[k])};
        sum += term;
        magnitude += std::abs(term);
      }
      const std::size_t at =
          static_cast<std::size_t>(token) * row.y_stride() + static_cast<std::size_t>(output);
      float found = 0;
      if (row.y_type == Float::kSingle) {
        std::memcpy(&found, y.data() + 4 * at, 4);
      } else {
        std::uint16_t bits = 0;
        std::memcpy(&bits, y.data() + 2 * at, 2);
        found = FromBits(row.y_type, bits);
      }
      const double allowed = (roundings * 0x1p-23 + of_weights) * magnitude +
                             of_y * (std::abs(sum) + (weights_are_dense ? magnitude : 0));
      if (!(std::abs(double{found} - sum) <= allowed)) {
        return Describe(row) + ": token " + std::to_string(token) + ", output " +
               std::to_string(output) + ": expected " + std::to_string(sum) + " within " +
               std::to_string(allowed) + ", found " + std::to_string(found);
      }
    }
  }
  return "";
}

}  // namespace awq::cuda
