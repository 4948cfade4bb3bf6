// Times of the launches of cuda/matrix.h and rounding.h, for gpu_bench.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <numeric>
#include <string>
#include <vector>

#include "cuda/matrix.h"
#include "cuda/rounding.h"
#include "cuda/test_bench.h"

namespace awq::cuda {

// Those of the widest site of a model of 7 billion weights.
struct SearchBenchSizes {
  int runs = kRuns;
  int rows = 4096, columns = 11008, group_size = 128;
  int refitted_rows = 2048;  // at a time, as the search does it
};

// What values the matrices have changes no time, but for the clock: H = 0, damped by 1.
class SearchBench {
 public:
  explicit SearchBench(const SearchBenchSizes& sizes) : sizes_(sizes) {}

  Fault Run() {
    std::printf(
        "\n| search, %d x %d weights, groups of %d | us | spread | fp32 TFLOP/s |\n"
        "|---|---|---|---|\n",
        sizes_.rows, sizes_.columns, sizes_.group_size);
    AWQ_CUDA_TRY(Prepare());
    AWQ_CUDA_TRY(Product());
    AWQ_CUDA_TRY(Factor());
    AWQ_CUDA_TRY(Solve());
    AWQ_CUDA_TRY(Groups());
    AWQ_CUDA_TRY(Clip());
    AWQ_CUDA_TRY(Feedback());
    return Refit();
  }

 private:
  static std::size_t Size(int rows, int columns) {
    return static_cast<std::size_t>(rows) * static_cast<std::size_t>(columns);
  }
  static Fault Floats(DeviceMemory& memory, std::size_t count) {
    return memory.Allocate(count * sizeof(float));
  }
  DeviceMatrix Whole(const DeviceMemory& memory, int rows) const {
    return {memory.data<float>(), sizes_.columns, rows, sizes_.columns};
  }
  int groups() const { return sizes_.columns / sizes_.group_size; }
  DeviceCodes codes() const {
    return {codes_.data<std::uint8_t>(), steps_.data<float>(), zeros_.data<std::uint8_t>()};
  }

  template <class Launch>
  Fault Time(const std::string& what, double operations, Launch launch) {
    Timing times;
    AWQ_CUDA_TRY(Measure(1, times, launch, sizes_.runs));
    std::printf("| %s | %.1f | %.0f %% | ", what.c_str(), times.median_s * 1e6, times.spread * 100);
    if (operations > 0) std::printf("%.1f ", operations / times.median_s * 1e-12);
    std::printf("|\n");
    return {};
  }

  Fault Prepare() {
    const int n = sizes_.columns;
    AWQ_CUDA_TRY(Floats(weights_, Size(sizes_.rows, n)));
    AWQ_CUDA_TRY(FillWithNumbers(weights_));
    AWQ_CUDA_TRY(Floats(other_, Size(sizes_.rows, n)));
    AWQ_CUDA_TRY(FillWithNumbers(other_));
    AWQ_CUDA_TRY(Floats(gram_, Size(n, n)));
    AWQ_CUDA_TRY(FillBytes(gram_.data(), 0, gram_.bytes(), nullptr));
    AWQ_CUDA_TRY(Floats(lower_, Size(n, n)));
    AWQ_CUDA_TRY(Floats(inverses_, Size(FactorBlocks(n) * kFactorBlock, kFactorBlock)));
    AWQ_CUDA_TRY(Floats(panel_, Size(std::max(n, sizes_.rows), kFactorBlock)));
    AWQ_CUDA_TRY(failed_.Allocate(sizeof(int)));
    std::vector<std::uint32_t> order(Size(n, 1));
    std::iota(order.begin(), order.end(), 0U);
    AWQ_CUDA_TRY(Upload(order_, order));
    AWQ_CUDA_TRY(Upload(ones_, std::vector<float>(Size(n, 1), 1.0F)));
    AWQ_CUDA_TRY(codes_.Allocate(Size(sizes_.rows, n)));
    AWQ_CUDA_TRY(Floats(steps_, Size(sizes_.rows, groups())));
    AWQ_CUDA_TRY(zeros_.Allocate(Size(sizes_.rows, groups())));
    AWQ_CUDA_TRY(losses_.Allocate(Size(sizes_.rows, 1) * sizeof(double)));
    spec_ = {sizes_.group_size, 15, 8, false};
    return {};
  }

  double Squares(double each) const {  // of `each` a row, a column and a column
    return each * sizes_.rows * sizes_.columns * sizes_.columns;
  }

  Fault Product() {
    ProductTask task;
    task.a = Whole(weights_, sizes_.rows);
    task.b = Whole(gram_, sizes_.columns);
    task.to = Whole(other_, sizes_.rows);
    return Time("Multiply, W H", Squares(2), [&](int) { return Multiply(task, nullptr); });
  }

  Fault Factor() {
    FactorTask task;
    task.gram = gram_.data<float>();
    task.order = order_.data<std::uint32_t>();
    task.added = ones_.data<float>();
    task.n = sizes_.columns;
    task.lower = lower_.data<float>();
    task.inverses = inverses_.data<float>();
    task.panel = panel_.data<float>();
    task.failed = failed_.data<int>();
    const double n = sizes_.columns;
    return Time("FactorGram", n * n * n / 3, [&](int) { return FactorGram(task, nullptr); });
  }

  Fault Solve() {
    SolveTask task;
    task.lower = lower_.data<float>();
    task.inverses = inverses_.data<float>();
    task.n = sizes_.columns;
    task.rows = Whole(other_, sizes_.rows);
    task.panel = panel_.data<float>();
    return Time("SolveRows", Squares(2), [&](int) { return SolveRows(task, nullptr); });
  }

  Fault Groups() {
    GroupTask task;
    task.weights = Whole(weights_, sizes_.rows);
    task.scale = ones_.data<float>();
    task.spec = spec_;
    task.to = codes();
    AWQ_CUDA_TRY(Time("RoundGroups", 0, [&](int) { return RoundGroups(task, nullptr); }));
    task.units = ones_.data<float>();
    return Time("RoundGroups, ranges searched", 0, [&](int) { return RoundGroups(task, nullptr); });
  }

  Fault Clip() {
    DeviceMemory bounds;
    AWQ_CUDA_TRY(Floats(bounds, Size(sizes_.rows, groups())));
    ClipTask task;
    task.weights = Whole(weights_, sizes_.rows);
    task.scale = ones_.data<float>();
    task.gram = gram_.data<float>();
    task.spec = spec_;
    task.bounds = bounds.data<float>();
    constexpr double kBounds = kClipBytes / sizeof(float);  // that are tried
    const double operations = 2 * kBounds * sizes_.rows * sizes_.columns * sizes_.group_size;
    return Time("SearchClip", operations, [&](int) { return SearchClip(task, nullptr); });
  }

  Fault Feedback() {
    DeviceMemory errors;
    AWQ_CUDA_TRY(Floats(errors, Size(sizes_.rows, kFeedbackBlock)));
    FeedbackTask task;
    task.weights = Whole(weights_, sizes_.rows);
    task.scale = ones_.data<float>();
    task.lower = lower_.data<float>();
    task.order = order_.data<std::uint32_t>();
    task.added = ones_.data<float>();
    task.spec = spec_;
    task.rounded = codes();
    task.feedback = other_.data<float>();
    task.errors = errors.data<float>();
    task.losses = losses_.data<double>();
    return Time("RoundWithFeedback", Squares(1),
                [&](int) { return RoundWithFeedback(task, nullptr); });
  }

  Fault Refit() {
    const int rows = std::min(sizes_.refitted_rows, sizes_.rows);
    DeviceMemory shares, systems, right;
    AWQ_CUDA_TRY(Floats(shares, Size(rows, sizes_.columns)));
    AWQ_CUDA_TRY(Floats(systems, Size(rows, groups() * groups())));
    AWQ_CUDA_TRY(Floats(right, Size(rows, groups())));
    RefitTask task;
    task.weights = Whole(weights_, rows);
    task.scale = ones_.data<float>();
    task.gram = gram_.data<float>();
    task.added = ones_.data<float>();
    task.group_size = sizes_.group_size;
    task.rounded = codes();
    task.shares = shares.data<float>();
    task.products = other_.data<float>();
    task.systems = systems.data<float>();
    task.right = right.data<float>();
    task.losses = losses_.data<double>();
    return Time("RefitScales of " + std::to_string(rows) + " rows", 0,
                [&](int) { return RefitScales(task, nullptr); });
  }

  SearchBenchSizes sizes_;
  CodeSpec spec_;
  DeviceMemory weights_, other_, gram_, lower_, inverses_, panel_, failed_, order_, ones_;
  DeviceMemory codes_, steps_, zeros_, losses_;
};

inline Fault BenchSearch(const SearchBenchSizes& sizes) { return SearchBench(sizes).Run(); }

}  // namespace awq::cuda
