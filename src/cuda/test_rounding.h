// Checks of matrix.h and rounding.h by what must hold of their results, in fp64: on the current
// device, or, in a program that links awq_cuda_emulated, on the emulated one.
#pragma once

#include <algorithm>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include "cuda/rounding.h"
#include "cuda/test_ops.h"

namespace awq::cuda {

// Memory of the current device and the first thing that went wrong there.
class RoundingDevice {
 public:
  template <class T>
  T* Place(const std::vector<T>& values) {
    DeviceMemory memory;
    Note(memory.Allocate(values.size() * sizeof(T)));
    Note(CopyToDevice(memory.data(), values.data(), values.size() * sizeof(T), nullptr));
    Note(Synchronize());
    memory_.push_back(std::move(memory));
    return memory_.back().data<T>();
  }
  template <class T>
  T* Poisoned(std::size_t count) {
    return Place(std::vector<T>(count, static_cast<T>(std::nan(""))));
  }
  template <class T>
  std::vector<T> Fetch(const T* from, std::size_t count) {
    std::vector<T> values(count);
    Note(CopyToHost(values.data(), from, count * sizeof(T), nullptr));
    Note(Synchronize());
    return values;
  }
  void Note(Fault fault) {
    if (fault && !fault_) fault_ = std::move(fault);
  }
  const std::string& message() const { return fault_.message; }

 private:
  Fault fault_;
  std::vector<DeviceMemory> memory_;
};

struct RoundingRow {
  std::string name;
  std::function<std::string(RoundingDevice&)> check;
};

inline double At(const std::vector<float>& m, std::size_t columns, std::size_t r, std::size_t c) {
  return static_cast<double>(m[r * columns + c]);
}

inline std::string CheckProduct(RoundingDevice& device, bool a_transposed, bool b_transposed) {
  constexpr std::size_t kRows = 131, kDepth = 37, kColumns = 260;
  const std::vector<float> a = RandomFloats(kRows * kDepth, 1, 1);
  const std::vector<float> b = RandomFloats(kDepth * kColumns, 1, 2);
  const std::vector<float> before = RandomFloats(kRows * kColumns, 1, 3);
  ProductTask task;
  task.a_transposed = a_transposed;
  task.b_transposed = b_transposed;
  const int rows = kRows, depth = kDepth, columns = kColumns;
  task.a = a_transposed ? DeviceMatrix{device.Place(a), rows, depth, rows}
                        : DeviceMatrix{device.Place(a), depth, rows, depth};
  task.b = b_transposed ? DeviceMatrix{device.Place(b), depth, columns, depth}
                        : DeviceMatrix{device.Place(b), columns, depth, columns};
  task.to = {device.Place(before), columns, rows, columns};
  task.accumulate = true;
  task.factor = -1;
  device.Note(Multiply(task, nullptr));
  std::vector<double> expected, sizes;
  for (std::size_t i = 0; i < before.size(); ++i) {
    const std::size_t r = i / kColumns, c = i % kColumns;
    double sum = static_cast<double>(before[i]), size = std::abs(sum);
    for (std::size_t k = 0; k < kDepth; ++k) {
      const double product = (a_transposed ? At(a, kRows, k, r) : At(a, kDepth, r, k)) *
                             (b_transposed ? At(b, kDepth, c, k) : At(b, kColumns, k, c));
      sum -= product;
      size += std::abs(product);
    }
    expected.push_back(sum);
    sizes.push_back(size);
  }
  return Compare("element", device.Fetch(task.to.data, before.size()), expected,
                 [&](std::size_t i) { return (kDepth + 2) * kUnit * sizes[i]; });
}

// A Gram matrix of few more tokens than features, its factor's inputs, and the factor.
struct FactorCase {
  std::size_t n = 0;
  std::vector<float> gram, added;
  std::vector<std::uint32_t> order;
  FactorTask task;

  FactorCase(RoundingDevice& device, std::size_t features, float damping) : n(features) {
    const std::size_t tokens = n + n / 4;
    const std::vector<float> x = RandomFloats(tokens * n, 1, 5);
    gram.resize(n * n);
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j <= i; ++j) {
        double sum = 0;
        for (std::size_t t = 0; t < tokens; ++t) sum += At(x, n, t, i) * At(x, n, t, j);
        gram[i * n + j] = gram[j * n + i] = static_cast<float>(sum / static_cast<double>(tokens));
      }
      added.push_back(damping * (1 + static_cast<float>(i % 3)));
      order.push_back(static_cast<std::uint32_t>((i * 7 + 3) % n));  // n is no multiple of 7
    }
    task.n = static_cast<int>(n);
    task.gram = device.Place(gram);
    task.order = device.Place(order);
    task.added = device.Place(added);
    task.lower = device.Poisoned<float>(n * n);
    const auto blocks = static_cast<std::size_t>(FactorBlocks(task.n));
    task.inverses = device.Poisoned<float>(blocks * kFactorBlock * kFactorBlock);
    task.panel = device.Poisoned<float>(n * kFactorBlock);
    task.failed = device.Place(std::vector<int>{7});
    device.Note(FactorGram(task, nullptr));
  }
  double Damped(std::size_t i, std::size_t j) const {
    const double value = At(gram, n, order[i], order[j]);
    return i == j ? value + static_cast<double>(added[order[i]]) : value;
  }
};

// |L L^T - A| <= c n u sqrt(A_ii A_jj) (Higham, theorem 10.3), here with inverses of blocks.
inline std::string CheckFactor(RoundingDevice& device, std::size_t n) {
  const FactorCase factor(device, n, 0.05F);
  if (device.Fetch(factor.task.failed, 1).front() != 0) return "a pivot was not positive";
  const std::vector<float> lower = device.Fetch(factor.task.lower, n * n);
  std::vector<float> found;
  std::vector<double> expected, bounds;
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j < n; ++j) {
      if (j > i && lower[i * n + j] != 0) return "something above the diagonal";
      double sum = 0;
      for (std::size_t k = 0; k <= std::min(i, j); ++k) {
        sum += At(lower, n, i, k) * At(lower, n, j, k);
      }
      found.push_back(static_cast<float>(sum));
      expected.push_back(factor.Damped(i, j));
      bounds.push_back(4 * static_cast<double>(n) * kUnit *
                       std::sqrt(factor.Damped(i, i) * factor.Damped(j, j)));
    }
  }
  return Compare("element", found, expected, [&](std::size_t i) { return bounds[i]; });
}

inline std::string CheckFactorFails(RoundingDevice& device) {
  const FactorCase factor(device, 130, -3.0F);  // below the least eigenvalue
  return device.Fetch(factor.task.failed, 1).front() == 1 ? "" : "it is not told";
}

// What is left of X A = B is small beside |X| |L| |L^T|.
inline std::string CheckSolve(RoundingDevice& device) {
  constexpr std::size_t kN = 200, kRows = 5;
  const FactorCase factor(device, kN, 0.05F);
  const std::vector<float> right = RandomFloats(kRows * kN, 1, 8);
  SolveTask task;
  task.lower = factor.task.lower;
  task.inverses = factor.task.inverses;
  task.n = kN;
  task.rows = {device.Place(right), kN, kRows, kN};
  task.panel = device.Poisoned<float>(kRows * kFactorBlock);
  device.Note(SolveRows(task, nullptr));
  const std::vector<float> x = device.Fetch(task.rows.data, kRows * kN);
  std::vector<float> found;
  std::vector<double> expected, bounds;
  for (std::size_t i = 0; i < kRows * kN; ++i) {
    const std::size_t r = i / kN, c = i % kN;
    double sum = 0, size = 0;
    for (std::size_t k = 0; k < kN; ++k) {
      sum += At(x, kN, r, k) * factor.Damped(k, c);
      size += std::abs(At(x, kN, r, k)) * std::sqrt(factor.Damped(k, k) * factor.Damped(c, c));
    }
    found.push_back(static_cast<float>(sum));
    expected.push_back(static_cast<double>(right[i]));
    bounds.push_back(4 * kN * kUnit * size);
  }
  return Compare("element", found, expected, [&](std::size_t i) { return bounds[i]; });
}

// Weights with their maps in full ranges, rounded with feedback.
struct FeedbackCase {
  static constexpr std::size_t kRows = 19, kGroup = 24;
  std::size_t n = 0, groups = 0;
  std::vector<float> weights, scale, steps, lower;
  std::vector<std::uint8_t> codes, zeros;
  std::vector<double> losses;
  FactorCase factor;

  FeedbackCase(RoundingDevice& device, std::size_t features)
      : n(features), groups(n / kGroup), factor(device, n, 0.05F) {
    weights = RandomFloats(kRows * n, 1, 9);
    for (std::size_t i = 0; i < n; ++i) scale.push_back(1 + static_cast<float>(i % 5) / 4);
    GroupTask maps;
    maps.weights = {device.Place(weights), static_cast<int>(n), kRows, static_cast<int>(n)};
    maps.scale = device.Place(scale);
    maps.spec = {kGroup, 15, 8, false};
    maps.to = {nullptr, device.Poisoned<float>(kRows * groups),
               device.Place(std::vector<std::uint8_t>(kRows * groups, 99))};
    device.Note(RoundGroups(maps, nullptr));
    FeedbackTask task;
    task.weights = maps.weights;
    task.scale = maps.scale;
    task.lower = factor.task.lower;
    task.order = factor.task.order;
    task.added = factor.task.added;
    task.spec = maps.spec;
    task.rounded = maps.to;
    task.rounded.codes = device.Place(std::vector<std::uint8_t>(kRows * n, 99));
    task.feedback = device.Poisoned<float>(kRows * n);
    task.errors = device.Poisoned<float>(kRows * kFeedbackBlock);
    task.losses = device.Poisoned<double>(kRows);
    device.Note(RoundWithFeedback(task, nullptr));
    codes = device.Fetch(task.rounded.codes, kRows * n);
    steps = device.Fetch(task.rounded.steps, kRows * groups);
    zeros = device.Fetch(task.rounded.zeros, kRows * groups);
    losses = device.Fetch(task.losses, kRows);
    lower = device.Fetch(factor.task.lower, n * n);
  }
  double step(std::size_t row, std::size_t channel) const {
    return static_cast<double>(steps[row * groups + channel / kGroup]);
  }
  double zero(std::size_t row, std::size_t channel) const {
    return static_cast<double>(zeros[row * groups + channel / kGroup]);
  }
  double ErrorOf(std::size_t row, std::size_t channel) const {
    const double code = static_cast<double>(codes[row * n + channel]);
    return At(weights, n, row, channel) -
           (code - zero(row, channel)) * step(row, channel) / static_cast<double>(scale[channel]);
  }
};

// Each code is the nearest to what the errors before it ask for, and the loss is d H d^T.
inline std::string CheckFeedback(RoundingDevice& device, std::size_t n) {
  const FeedbackCase rounded(device, n);
  if (!device.message().empty()) return device.message();
  constexpr double kNearly = 1e-4;  // n fp32 sums of numbers of the size of a step
  for (std::size_t r = 0; r < FeedbackCase::kRows; ++r) {
    double loss = 0;
    for (std::size_t i = 0; i < n; ++i) {
      const std::size_t channel = rounded.factor.order[i];
      double asked = 0;
      for (std::size_t j = i + 1; j < n; ++j) {
        asked += rounded.ErrorOf(r, rounded.factor.order[j]) * At(rounded.lower, n, j, i);
      }
      const double target = At(rounded.weights, n, r, channel) + asked / At(rounded.lower, n, i, i);
      const double wanted = std::clamp(
          target * static_cast<double>(rounded.scale[channel]) / rounded.step(r, channel) +
              rounded.zero(r, channel),
          0.0, 15.0);
      const double code = static_cast<double>(rounded.codes[r * n + channel]);
      if (!(std::abs(wanted - code) <= 0.5 + kNearly)) {
        return "row " + std::to_string(r) + ", channel " + std::to_string(channel) + ": code " +
               std::to_string(code) + ", wanted " + std::to_string(wanted);
      }
      for (std::size_t j = 0; j < n; ++j) {
        loss += rounded.ErrorOf(r, channel) * At(rounded.factor.gram, n, channel, j) *
                rounded.ErrorOf(r, j);
      }
    }
    if (!(std::abs(loss - rounded.losses[r]) <= 1e-3 * loss)) {
      return "row " + std::to_string(r) + ": loss " + std::to_string(rounded.losses[r]) +
             ", expected " + std::to_string(loss);
    }
  }
  return "";
}

// The loss that is told is that of the scales, and none of them loses.
inline std::string CheckRefit(RoundingDevice& device) {
  constexpr std::size_t kN = 144, kRows = FeedbackCase::kRows;
  const FeedbackCase rounded(device, kN);
  const std::size_t groups = rounded.groups;
  RefitTask task;
  task.weights = {device.Place(rounded.weights), kN, kRows, kN};
  task.scale = device.Place(rounded.scale);
  task.gram = rounded.factor.task.gram;
  task.added = rounded.factor.task.added;
  task.group_size = FeedbackCase::kGroup;
  task.rounded = {device.Place(rounded.codes), device.Place(rounded.steps),
                  device.Place(rounded.zeros)};
  task.shares = device.Poisoned<float>(kRows * kN);
  task.products = device.Poisoned<float>(kRows * kN);
  task.systems = device.Poisoned<float>(kRows * groups * groups);
  task.right = device.Poisoned<float>(kRows * groups);
  task.losses = device.Poisoned<double>(kRows);
  device.Note(RefitScales(task, nullptr));
  FeedbackCase refitted = rounded;
  refitted.steps = device.Fetch(task.rounded.steps, kRows * groups);
  const std::vector<double> losses = device.Fetch(task.losses, kRows);
  std::size_t changed = 0;
  for (std::size_t r = 0; r < kRows; ++r) {
    double before = 0, after = 0, energy = 0;
    for (std::size_t i = 0; i < kN; ++i) {
      for (std::size_t j = 0; j < kN; ++j) {
        const double m = At(rounded.factor.gram, kN, i, j) +
                         (i == j ? static_cast<double>(rounded.factor.added[i]) : 0.0);
        before += rounded.ErrorOf(r, i) * m * rounded.ErrorOf(r, j);
        after += refitted.ErrorOf(r, i) * m * refitted.ErrorOf(r, j);
        energy += At(rounded.weights, kN, r, i) * m * At(rounded.weights, kN, r, j);
      }
    }
    const double bound = 4 * kN * kUnit * energy;  // sums of the size of the energy
    if (!(std::abs(after - energy - losses[r]) <= bound)) return "a wrong loss";
    if (!(after <= before + bound)) return "row " + std::to_string(r) + " loses";
    changed += after < before - bound ? 1U : 0U;
  }
  return changed > 0 ? "" : "nothing gains";
}

inline std::vector<RoundingRow> RoundingRows() {
  std::vector<RoundingRow> rows;
  const auto add = [&](const std::string& name, auto check) {
    rows.push_back({name, [check](RoundingDevice& device) {
                      const std::string wrong = check(device);
                      return device.message().empty() ? wrong : device.message();
                    }});
  };
  for (const bool a : {false, true}) {
    for (const bool b : {false, true}) {
      add(std::string("product_") + (a ? "t" : "n") + (b ? "t" : "n"),
          [=](RoundingDevice& device) { return CheckProduct(device, a, b); });
    }
  }
  add("factor_40", [](RoundingDevice& device) { return CheckFactor(device, 40); });
  add("factor_269", [](RoundingDevice& device) { return CheckFactor(device, 269); });
  add("factor_fails", CheckFactorFails);
  add("solve", CheckSolve);
  add("feedback_72", [](RoundingDevice& device) { return CheckFeedback(device, 72); });
  add("feedback_264", [](RoundingDevice& device) { return CheckFeedback(device, 264); });
  add("refit", CheckRefit);
  return rows;
}

}  // namespace awq::cuda
