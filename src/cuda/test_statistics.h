// Checks of cuda/statistics.h.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>

#include "cuda/test_ops.h"

namespace awq::cuda {

// Inputs of a site: normal numbers, some channels much larger.
struct SiteInputs {
  Element type;
  std::size_t width, tokens;
  std::vector<std::uint16_t> bits;

  SiteInputs(Element type_in, int width_in, int tokens_in, unsigned seed)
      : type(type_in),
        width(static_cast<std::size_t>(width_in)),
        tokens(static_cast<std::size_t>(tokens_in)) {
    std::vector<float> values = RandomFloats(width * tokens, 1, seed);
    for (std::size_t i = 3; i < values.size(); i += 17) values[i] *= 100;
    bits = Rounded(values, type);
  }
  // Infinities of both signs and a NaN, in different rows where there are so many.
  void Damage() {
    const std::uint16_t infinity = type == Element::kF16 ? 0x7c00 : 0x7f80;
    bits[1] = infinity;
    bits[tokens / 2 * width + 2] = static_cast<std::uint16_t>(infinity | 0x8000U);
    bits[(tokens - 1) * width + 4] = static_cast<std::uint16_t>(infinity + 1U);
  }
  float at(std::size_t token, std::size_t column) const {
    return Widened(bits[token * width + column], type);
  }
  unsigned long long nonfinite() const {
    return static_cast<unsigned long long>(std::count_if(
        bits.begin(), bits.end(), [&](auto each) { return !std::isfinite(Widened(each, type)); }));
  }
  InputRows On(OpsBackend& backend) const {
    return {backend.Place(bits), type, static_cast<int>(tokens), static_cast<int>(width)};
  }
};

// The same numbers, or both NaNs, of whatever bits.
inline std::string CompareSame(const char* what, const std::vector<float>& found,
                               const std::vector<float>& expected) {
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (std::isnan(found[i]) && std::isnan(expected[i])) continue;
    if (std::memcmp(&found[i], &expected[i], sizeof(float)) == 0) continue;
    char text[200];
    std::snprintf(text, sizeof(text), "%s %zu of %zu is %.9g, expected %.9g", what, i,
                  expected.size(), static_cast<double>(found[i]), static_cast<double>(expected[i]));
    return text;
  }
  return "";
}

inline std::string CompareCount(OpsBackend& backend, NonfiniteCount found,
                                unsigned long long expected) {
  const unsigned long long count = backend.Fetch<unsigned long long>(found, 1)[0];
  return count == expected ? "" : "counted " + std::to_string(count) + " non-finite inputs";
}

// Two calls, whose sums go on.
inline std::string CheckColumns(OpsBackend& backend, Element type, int width, int tokens,
                                bool is_damaged) {
  const auto n = static_cast<std::size_t>(width);
  ColumnsTask task;
  task.sums = backend.Place(std::vector<double>(n, 0.25));
  task.largest = backend.Place(std::vector<float>(n, 0.125F));
  task.nonfinite = backend.Place(std::vector<unsigned long long>{5});
  std::vector<double> sums(n, 0.25);
  std::vector<float> largest(n, 0.125F);
  unsigned long long nonfinite = 5;
  std::size_t additions = 1;
  for (const int count : {tokens, 1}) {
    SiteInputs inputs(type, width, count, 41 + static_cast<unsigned>(count));
    if (is_damaged) inputs.Damage();
    for (std::size_t i = 0; i < inputs.bits.size(); ++i) {
      const float magnitude = std::abs(Widened(inputs.bits[i], type));
      sums[i % n] += static_cast<double>(magnitude);
      if (magnitude > largest[i % n]) largest[i % n] = magnitude;
    }
    nonfinite += inputs.nonfinite();
    additions += inputs.tokens;
    const auto parts = static_cast<std::size_t>(ColumnParts(count));
    task.x = inputs.On(backend);
    task.part_sums = backend.Poisoned<double>(parts * n);
    task.part_largest = backend.Poisoned<float>(parts * n);
    AWQ_EXPECT(MessageOf(backend.Run(task)));
  }
  const std::vector<double> found = backend.Fetch<double>(task.sums, n);
  for (std::size_t i = 0; i < n; ++i) {
    if (std::isnan(sums[i]) ? std::isnan(found[i]) : found[i] == sums[i]) continue;
    // Sums of f16 are multiples of 2^-24 below 2^29, and so exact.
    const double bound =
        type == Element::kF16 ? 0 : static_cast<double>(additions) * 0x1p-53 * sums[i];
    if (!(std::abs(found[i] - sums[i]) <= bound)) return "a wrong sum in " + std::to_string(i);
  }
  AWQ_EXPECT(CompareSame("largest", backend.Fetch<float>(task.largest, n), largest));
  return CompareCount(backend, task.nonfinite, nonfinite);
}

// Rows with no token, with one and with many, in no order.
inline std::string CheckSketch(OpsBackend& backend, Element type, int width, int tokens,
                               bool is_damaged) {
  constexpr std::size_t kRows = 7;
  SiteInputs inputs(type, width, tokens, 51);
  if (is_damaged) inputs.Damage();
  std::vector<std::vector<std::uint32_t>> lists(kRows);
  for (std::size_t t = 0; t < inputs.tokens; ++t) {
    const std::size_t row = t == 0 ? 2 : t % 5 == 0 ? 6 : t % 2 == 0 ? 5 : 3;
    const std::uint32_t sign = t % 3 == 0 ? kSketchMinus : 0;
    const bool goes_first = t % 7 == 0;
    lists[row].insert(goes_first ? lists[row].begin() : lists[row].end(),
                      static_cast<std::uint32_t>(t) | sign);
  }
  std::vector<float> expected = RandomFloats(kRows * inputs.width, 1, 52);
  SketchTask task;
  task.x = inputs.On(backend);
  task.rows = kRows;
  task.sketch = backend.Place(expected);
  task.nonfinite = backend.Place(std::vector<unsigned long long>{2});
  std::vector<std::uint32_t> starts = {0}, all;
  for (std::size_t row = 0; row < kRows; ++row) {
    for (const std::uint32_t entry : lists[row]) {
      const std::size_t token = entry & ~kSketchMinus;
      for (std::size_t c = 0; c < inputs.width; ++c) {
        const float x = inputs.at(token, c);
        expected[row * inputs.width + c] += (entry & kSketchMinus) != 0 ? -x : x;
      }
      all.push_back(entry);
    }
    starts.push_back(static_cast<std::uint32_t>(all.size()));
  }
  task.starts = backend.Place(starts);
  task.tokens = backend.Place(all);
  AWQ_EXPECT(MessageOf(backend.Run(task)));
  AWQ_EXPECT(CompareSame("sum", backend.Fetch<float>(task.sketch, expected.size()), expected));
  AWQ_EXPECT(CompareCount(backend, task.nonfinite, 2 + inputs.nonfinite()));
  task.nonfinite = nullptr;
  return MessageOf(backend.Run(task));
}

// Into memory of its own, and in place.
inline std::string CheckDifference(OpsBackend& backend, Element type, int width, int tokens) {
  SiteInputs a(type, width, tokens, 61);
  const SiteInputs b(type, width, tokens, 62);
  a.Damage();
  std::vector<float> expected;
  for (std::size_t i = 0; i < a.bits.size(); ++i) {
    const float difference = Widened(a.bits[i], type) - Widened(b.bits[i], type);
    expected.push_back(Widened(Rounded({difference}, type)[0], type));
  }
  DifferenceTask task;
  task.a = a.On(backend);
  task.b = b.On(backend).data;
  for (void* const out : {static_cast<void*>(backend.Poisoned<std::uint16_t>(a.bits.size())),
                          const_cast<void*>(task.a.data)}) {
    task.out = out;
    AWQ_EXPECT(MessageOf(backend.Run(task)));
    AWQ_EXPECT(CompareSame("difference", FetchActivations(backend, {out, type}, expected.size()),
                           expected));
  }
  return "";
}

inline std::string CheckWiden(OpsBackend& backend, Element type, int width, int step) {
  SiteInputs inputs(type, width, 1 + 2 + 4 * step, 71);
  inputs.Damage();  // the first row, which is not asked for, and the last, which is
  WidenTask task;
  task.x = inputs.On(backend);
  task.first = 2;
  task.step = step;
  task.count = 5;
  std::vector<float> expected;
  unsigned long long nonfinite = 1;
  for (std::size_t i = 0; i < 5; ++i) {
    for (std::size_t c = 0; c < inputs.width; ++c) {
      expected.push_back(inputs.at(2 + i * static_cast<std::size_t>(step), c));
      nonfinite += std::isfinite(expected.back()) ? 0U : 1U;
    }
  }
  task.to = backend.Poisoned<float>(expected.size());
  task.nonfinite = backend.Place(std::vector<unsigned long long>{1});
  AWQ_EXPECT(MessageOf(backend.Run(task)));
  AWQ_EXPECT(CompareSame("number", backend.Fetch<float>(task.to, expected.size()), expected));
  return CompareCount(backend, task.nonfinite, nonfinite);
}

// What is below the diagonal is not read.
inline std::string CheckMirror(OpsBackend& backend, int size) {
  const auto n = static_cast<std::size_t>(size);
  std::vector<float> matrix = RandomFloats(n * n, 1, 81), expected(n * n);
  constexpr float kFactor = 1.0F / 3;
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = i; j < n; ++j) {
      expected[i * n + j] = expected[j * n + i] = matrix[i * n + j] * kFactor;
      if (i < j) matrix[j * n + i] = std::nanf("");
    }
  }
  const MirrorTask task{backend.Place(matrix), size, kFactor};
  AWQ_EXPECT(MessageOf(backend.Run(task)));
  return CompareSame("element", backend.Fetch<float>(task.matrix, n * n), expected);
}

inline std::string CheckStatisticsRefuse(OpsBackend& backend) {
  ColumnsTask columns;
  columns.x = {nullptr, Element::kBF16, 1, 12};
  if (backend.Run(columns).kind != FaultKind::kUnsupported) return "a width of 12 is taken";
  SketchTask sketch;
  sketch.x = {nullptr, Element::kF32, 1, 16};
  sketch.rows = 1;
  if (backend.Run(sketch).kind != FaultKind::kUnsupported) return "fp32 is taken";
  columns.x = {nullptr, Element::kBF16, 0, 8};
  return MessageOf(backend.Run(columns));  // no token: nothing is done
}

inline std::vector<OpsRow> StatisticsRows() {
  std::vector<OpsRow> rows;
  const auto add = [&](const std::string& name, auto check) { rows.push_back({name, check}); };
  for (const Element type : {Element::kBF16, Element::kF16}) {
    const std::string of = type == Element::kBF16 ? "_bf16" : "_f16";
    for (const int width : {8, 264}) {
      for (const int tokens : {1, 64, 333}) {
        const std::string shape = of + "_" + std::to_string(width) + "_" + std::to_string(tokens);
        add("columns" + shape,
            [=](OpsBackend& b) { return CheckColumns(b, type, width, tokens, false); });
      }
    }
    for (const bool damaged : {false, true}) {
      const std::string how = of + (damaged ? "_nonfinite" : "");
      add("sketch" + how, [=](OpsBackend& b) { return CheckSketch(b, type, 1032, 77, damaged); });
      add("columns" + how, [=](OpsBackend& b) { return CheckColumns(b, type, 72, 70, damaged); });
    }
    add("difference" + of, [=](OpsBackend& b) { return CheckDifference(b, type, 1048, 3); });
    add("widen" + of, [=](OpsBackend& b) { return CheckWiden(b, type, 1040, 1); });
    add("widen_every_third" + of, [=](OpsBackend& b) { return CheckWiden(b, type, 16, 3); });
  }
  for (const int n : {1, 32, 77}) {
    add("mirror_" + std::to_string(n), [=](OpsBackend& b) { return CheckMirror(b, n); });
  }
  add("statistics_refuse", CheckStatisticsRefuse);
  return rows;
}

}  // namespace awq::cuda
