// What the checks of cuda/ops.h, sample.h and statistics.h share: where they run, and comparisons.
// Plain C++, so that they also run where there is no GoogleTest.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "cuda/fault.h"
#include "cuda/numbers.h"
#include "cuda/ops.h"
#include "cuda/sample.h"
#include "cuda/statistics.h"

namespace awq::cuda {

// Memory and launches: the emulator's, or a device's.
class OpsBackend {
 public:
  virtual ~OpsBackend() = default;

  // Aligned to 16 bytes, for as long as the backend lives. from == null: all bytes 0xff, which are
  // NaNs of every type.
  virtual void* Place(const void* from, std::size_t bytes) = 0;
  virtual void Fetch(void* to, const void* from, std::size_t bytes) = 0;

  virtual Fault Run(const EmbedTask& task) = 0;
  virtual Fault Run(const NormTask& task) = 0;
  virtual Fault Run(const GateTask& task) = 0;
  virtual Fault Run(const RopeTask& task) = 0;
  virtual Fault Run(const DecodeTask& task) = 0;
  virtual Fault Run(const PrefillTask& task) = 0;
  virtual Fault Run(const GramTask& task) = 0;
  virtual Fault Run(const SampleTask& task) = 0;
  virtual Fault Run(const ColumnsTask& task) = 0;
  virtual Fault Run(const SketchTask& task) = 0;
  virtual Fault Run(const DifferenceTask& task) = 0;
  virtual Fault Run(const WidenTask& task) = 0;
  virtual Fault Run(const MirrorTask& task) = 0;

  template <class T>
  T* Place(const std::vector<T>& values) {
    return static_cast<T*>(Place(values.data(), values.size() * sizeof(T)));
  }
  template <class T>
  T* Poisoned(std::size_t count) {
    return static_cast<T*>(Place(nullptr, count * sizeof(T)));
  }
  template <class T>
  std::vector<T> Fetch(const void* from, std::size_t count) {
    std::vector<T> values(count);
    Fetch(values.data(), from, count * sizeof(T));
    return values;
  }
};

// check(backend): "", or what is wrong.
struct OpsRow {
  std::string name;
  std::function<std::string(OpsBackend&)> check;
};

inline constexpr double kUnit = 0x1p-24;  // of one fp32 rounding

// Of one rounding to it.
inline double UnitOf(Element type) { return type == Element::kF16 ? 0x1p-11 : 0x1p-8; }
// What an f16 below its normal numbers is off by.
inline double SmallestOf(Element type) { return type == Element::kF16 ? 0x1p-25 : 1e-30; }

inline std::vector<float> RandomFloats(std::size_t count, float deviation, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, deviation);
  std::vector<float> values(count);
  for (float& each : values) each = normal(random);
  return values;
}

// As bits, whatever the type.
inline std::vector<std::uint16_t> Rounded(const std::vector<float>& values, Element type) {
  std::vector<std::uint16_t> bits;
  for (const float each : values) {
    bits.push_back(type == Element::kF16 ? FromFloat<Half>(each).bits
                                         : FromFloat<Bfloat16>(each).bits);
  }
  return bits;
}

inline float Widened(std::uint16_t bits, Element type) {
  return type == Element::kF16 ? ToFloat(Half{bits}) : ToFloat(Bfloat16{bits});
}

inline std::vector<float> FetchActivations(OpsBackend& backend, const Activations& from,
                                           std::size_t count) {
  std::vector<float> values;
  for (const std::uint16_t bits : backend.Fetch<std::uint16_t>(from.data, count)) {
    values.push_back(Widened(bits, from.type));
  }
  return values;
}

// bound(i): how far apart number i may be.
template <class Bound>
std::string Compare(const char* what, const std::vector<float>& found,
                    const std::vector<double>& expected, Bound bound) {
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double difference = std::abs(static_cast<double>(found[i]) - expected[i]);
    if (difference <= bound(i)) continue;
    char text[200];
    std::snprintf(text, sizeof(text), "%s %zu of %zu is %.9g, expected %.9g within %.3g", what, i,
                  expected.size(), static_cast<double>(found[i]), expected[i], bound(i));
    return text;
  }
  return "";
}

// Returns what is wrong, if something is.
#define AWQ_EXPECT(expression)                                          \
  do {                                                                  \
    if (std::string wrong = (expression); !wrong.empty()) return wrong; \
  } while (false)

inline std::string MessageOf(const Fault& fault) { return fault.message; }

}  // namespace awq::cuda
