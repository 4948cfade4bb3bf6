// What tools/gpu_check runs: no library but CUDA's.
//
//   gpu_bench emulate        the tests' rows on the emulator
//   gpu_bench test [short]   the rows on the device
//   gpu_bench bench          a Markdown table: time beside a copy's bandwidth and cuBLASLt's bf16
//
// Exit status: 0, 1 for a wrong result or a fault, 77 where there is no device.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "cuda/copy.h"
#include "cuda/linear_stream.cuh"
#include "cuda/linear_tile.cuh"
#include "cuda/linears.h"
#include "cuda/test_linear_rows.h"

namespace awq::cuda {
namespace {

constexpr int kSkipped = 77;

int Report(const Fault& fault) {
  std::printf("gpu_bench: %s\n", fault.message.c_str());
  return fault.kind == FaultKind::kFailed || fault.kind == FaultKind::kOutOfMemory ? 1 : kSkipped;
}

LinearCall CallOf(const LinearRow& row) {
  LinearCall call;
  call.weights.shape = row.shape;
  call.x_type = row.x_type;
  call.tokens = row.tokens;
  call.y_type = row.y_type;
  call.y_stride = static_cast<int>(row.y_stride());
  return call;
}

// ---- the emulator ----

template <class T>
Fault LaunchEmulated(const LinearTest& test, const LinearCall& call, const Workspace& work) {
  const simt::EmulatedLauncher launcher;
  constexpr int kMultiprocessors = 3;
  if (test.choice.way == LinearWay::kStream) {
    return LaunchStream<T>(launcher, call, work, kMultiprocessors);
  }
  return test.choice.tile_tokens == 16 ? LaunchTile<T, 16>(launcher, call, work, kMultiprocessors)
                                       : LaunchTile<T, 64>(launcher, call, work, kMultiprocessors);
}

int Emulate() {
  int wrong = 0;
  const std::vector<LinearTest> tests = LinearTests(true);
  for (const LinearTest& test : tests) {
    const LinearProblem problem(test.row);
    std::vector<unsigned char> y = problem.EmptyOutput();
    std::vector<float> sums(1 << 18);
    std::vector<int> arrivals(64);
    LinearCall call = CallOf(test.row);
    call.weights.codes = problem.packed.codes.data();
    call.weights.scales = problem.packed.scales.data();
    call.weights.zeros = problem.packed.zeros.data();
    call.x = problem.x.data();
    call.y = y.data();
    call.bias = test.row.has_bias ? problem.bias.data() : nullptr;
    const Workspace work{sums.data(), arrivals.data()};
    const Fault fault = test.row.x_type == Float::kHalf
                            ? LaunchEmulated<Half>(test, call, work)
                            : LaunchEmulated<Bfloat16>(test, call, work);
    const std::string said = fault ? fault.message : Compare(problem, y);
    if (!said.empty()) {
      std::printf("WRONG, emulated: %s\n", said.c_str());
      ++wrong;
    }
  }
  std::printf("emulated: %zu linears, %d wrong\n", tests.size(), wrong);
  return wrong == 0 ? 0 : 1;
}

// ---- the device ----

template <class Bytes>
Fault Upload(DeviceMemory& memory, const Bytes& bytes) {
  const std::size_t size = bytes.size() * sizeof(bytes[0]);
  if (size == 0) {
    return {};
  }
  AWQ_CUDA_TRY(memory.Allocate(size));
  return CopyToDevice(memory.data(), bytes.data(), size, nullptr);
}

Fault RunOnDevice(Linears& linears, const LinearTest& test, const LinearProblem& problem,
                  std::vector<unsigned char>& y) {
  DeviceMemory codes, scales, zeros, x, bias, out;
  AWQ_CUDA_TRY(Upload(codes, problem.packed.codes));
  AWQ_CUDA_TRY(Upload(scales, problem.packed.scales));
  AWQ_CUDA_TRY(Upload(zeros, problem.packed.zeros));
  AWQ_CUDA_TRY(Upload(x, problem.x));
  AWQ_CUDA_TRY(Upload(bias, problem.bias));
  AWQ_CUDA_TRY(Upload(out, y));
  LinearCall call = CallOf(test.row);
  call.weights.codes = codes.data();
  call.weights.scales = scales.data();
  call.weights.zeros = zeros.data();
  call.x = x.data();
  call.y = out.data();
  call.bias = bias.data<float>();
  AWQ_CUDA_TRY(linears.MultiplyBy(test.choice, call, nullptr));
  AWQ_CUDA_TRY(CopyToHost(y.data(), out.data(), y.size(), nullptr));
  return Synchronize();
}

int Test(Linears& linears, bool is_short) {
  int wrong = 0;
  const std::vector<LinearTest> tests = LinearTests(is_short);
  for (const LinearTest& test : tests) {
    const bool is_dense = test.choice.way == LinearWay::kDense;
    const LinearProblem problem(test.row);
    std::vector<unsigned char> first = problem.EmptyOutput(), second = first;
    Fault fault = RunOnDevice(linears, test, problem, first);
    std::string said = fault ? fault.message : Compare(problem, first, is_dense);
    fault = RunOnDevice(linears, test, problem, second);
    said += !fault && said.empty() && first != second
                ? Describe(test.row) + ": other bits in the second run"
                : fault.message;
    if (!said.empty()) {
      std::printf("WRONG: %s\n", said.c_str());
      ++wrong;
    }
  }
  std::printf("on the device: %zu linears, %d wrong\n", tests.size(), wrong);
  return wrong == 0 ? 0 : 1;
}

struct Times {
  double median_s = 0, spread = 0;  // (slowest - fastest) / median
};

// launch(i) for i = 0, 1, ...: `copies` of them are one measurement.
template <class Launch>
Fault Measure(int copies, Times& times, Launch launch) {
  constexpr int kRuns = 9;
  Event begin, end;
  AWQ_CUDA_TRY(begin.Create());
  AWQ_CUDA_TRY(end.Create());
  std::vector<double> seconds;
  for (int run = -2; run < kRuns; ++run) {  // the first two warm up
    AWQ_CUDA_TRY(begin.Record(nullptr));
    for (int i = 0; i < copies; ++i) {
      AWQ_CUDA_TRY(launch(i));
    }
    AWQ_CUDA_TRY(end.Record(nullptr));
    AWQ_CUDA_TRY(end.Synchronize());
    double elapsed = 0;
    AWQ_CUDA_TRY(end.SecondsSince(begin, &elapsed));
    if (run >= 0) {
      seconds.push_back(elapsed / copies);
    }
  }
  std::sort(seconds.begin(), seconds.end());
  times.median_s = seconds[kRuns / 2];
  times.spread = (seconds.back() - seconds.front()) / times.median_s;
  return {};
}

Fault MeasureCopy(const DeviceInfo& device, double& bytes_per_s) {
  const std::size_t bytes = std::size_t{1} << 30;
  DeviceMemory from, to;
  AWQ_CUDA_TRY(from.Allocate(bytes));
  AWQ_CUDA_TRY(to.Allocate(bytes));
  AWQ_CUDA_TRY(FillBytes(from.data(), 0x5a, bytes, nullptr));
  Times times;
  AWQ_CUDA_TRY(
      Measure(4, times, [&](int) { return CopyOnDevice(to.data(), from.data(), bytes, nullptr); }));
  bytes_per_s = 2.0 * static_cast<double>(bytes) / times.median_s;
  std::printf("%s, compute capability %d.%d, %d multiprocessors; a copy moves %.0f GB/s\n\n",
              device.name.c_str(), device.major, device.minor, device.multiprocessors,
              bytes_per_s * 1e-9);
  return {};
}

// Random bytes are codes, scales of 2^-6 or so, and zeros, of several linears one after another.
class RotatingWeights {
 public:
  Fault Create(const WeightShape& shape, std::size_t l2_bytes) {
    shape_ = shape;
    layout_ = LayOut(shape);
    const TestWeights some({kPanelRows, shape.inputs, shape.bits, shape.group_inputs}, 1);
    const PackedWeights panel = some.Pack();
    copies_ =
        static_cast<int>(std::max<std::size_t>(4 * l2_bytes, 256 << 20) / layout_.codes_bytes + 1);
    AWQ_CUDA_TRY(Fill(codes_, panel.codes));
    AWQ_CUDA_TRY(Fill(scales_, panel.scales));
    return Fill(zeros_, panel.zeros);
  }
  DeviceWeights At(int copy) const {
    const auto i = static_cast<std::size_t>(copy % copies_);
    return {shape_, codes_.data<unsigned char>() + i * layout_.codes_bytes,
            scales_.data<unsigned char>() + i * layout_.scales_bytes,
            zeros_.data<unsigned char>() + i * layout_.zeros_bytes};
  }
  int copies() const { return copies_; }
  double bytes() const {
    return static_cast<double>(layout_.codes_bytes + layout_.scales_bytes + layout_.zeros_bytes);
  }

 private:
  template <class Bytes>
  Fault Fill(DeviceMemory& memory, const Bytes& panel) const {
    const std::size_t bytes = panel.size() * sizeof(panel[0]);
    const auto panels = static_cast<std::size_t>(layout_.panels * copies_);
    AWQ_CUDA_TRY(memory.Allocate(bytes * panels));
    for (std::size_t i = 0; i < panels; ++i) {
      AWQ_CUDA_TRY(
          CopyToDevice(memory.data<unsigned char>() + i * bytes, panel.data(), bytes, nullptr));
    }
    return {};
  }

  WeightShape shape_;
  WeightLayout layout_;
  int copies_ = 0;
  DeviceMemory codes_, scales_, zeros_;
};

Fault MeasureDense(Linears& linears, const LinearCall& linear, Times& times) {
  const auto outputs = static_cast<std::size_t>(linear.weights.shape.outputs);
  const auto inputs = static_cast<std::size_t>(linear.weights.shape.inputs);
  const std::size_t bytes = outputs * inputs * 2;
  const int copies = static_cast<int>((std::size_t{512} << 20) / bytes + 1);
  DeviceMemory weights, scratch;
  AWQ_CUDA_TRY(weights.Allocate(bytes * static_cast<std::size_t>(copies)));
  AWQ_CUDA_TRY(scratch.Allocate(32 << 20));
  std::vector<std::uint16_t> some(outputs * inputs);
  std::mt19937 random(1);
  for (std::uint16_t& weight : some) {
    weight = FromFloat<Bfloat16>(static_cast<float>(random() % 2001) * 1e-3f - 1.0f).bits;
  }
  for (int i = 0; i < copies; ++i) {
    AWQ_CUDA_TRY(CopyToDevice(weights.data<unsigned char>() + static_cast<std::size_t>(i) * bytes,
                              some.data(), bytes, nullptr));
  }
  return Measure(copies, times, [&](int i) {
    DenseCall call;
    call.w = weights.data<unsigned char>() + static_cast<std::size_t>(i) * bytes;
    call.x = linear.x;
    call.y = linear.y;
    call.outputs = linear.weights.shape.outputs;
    call.inputs = linear.weights.shape.inputs;
    call.tokens = linear.tokens;
    call.y_stride = call.outputs;
    call.x_type = call.y_type = Float::kBfloat16;
    call.scratch = scratch.data();
    call.scratch_bytes = scratch.bytes();
    return linears.dense().Multiply(call, nullptr);
  });
}

Fault BenchShape(Linears& linears, const WeightShape& shape, double copy_bytes_per_s) {
  RotatingWeights weights;
  AWQ_CUDA_TRY(weights.Create(shape, linears.device().l2_bytes));
  for (const int tokens : {1, 4, 8, 16, 32, 64, 128, 256, 1024, 4096}) {
    const LinearProblem problem({{kPanelRows, shape.inputs, 4, 128}, tokens, Float::kBfloat16});
    DeviceMemory x, y;
    AWQ_CUDA_TRY(Upload(x, problem.x));
    AWQ_CUDA_TRY(
        y.Allocate(static_cast<std::size_t>(tokens) * static_cast<std::size_t>(shape.outputs) * 2));
    LinearCall call;
    call.weights.shape = shape;
    call.x_type = call.y_type = Float::kBfloat16;
    call.x = x.data();
    call.y = y.data();
    call.tokens = tokens;
    Times ours, dense;
    AWQ_CUDA_TRY(Measure(weights.copies(), ours, [&](int i) {
      call.weights = weights.At(i);
      return linears.Multiply(call, nullptr);
    }));
    const bool has_dense = linears.dense().is_open() || !linears.dense().Open();
    if (has_dense) {
      AWQ_CUDA_TRY(MeasureDense(linears, call, dense));
    }
    const double bytes = weights.bytes() + 2.0 * tokens * (shape.inputs + shape.outputs);
    const double operations = 2.0 * tokens * shape.inputs * shape.outputs;
    std::printf("| %d x %d | %d | %.1f | %.0f %% | %.0f %% | %.0f | ", shape.outputs, shape.inputs,
                tokens, ours.median_s * 1e6, ours.spread * 100,
                100 * bytes / ours.median_s / copy_bytes_per_s, operations / ours.median_s * 1e-12);
    if (has_dense) {
      std::printf("%.1f | %.2f |\n", dense.median_s * 1e6, dense.median_s / ours.median_s);
    } else {
      std::printf("not measured | not measured |\n");
    }
  }
  return {};
}

Fault Bench(Linears& linears) {
  double copy_bytes_per_s = 0;
  AWQ_CUDA_TRY(MeasureCopy(linears.device(), copy_bytes_per_s));
  std::printf(
      "| outputs x inputs (4 bits, groups of 128) | tokens | us | spread | of the copy's bandwidth "
      "| "
      "TFLOP/s | cuBLASLt bf16, us | times as fast |\n|---|---|---|---|---|---|---|---|\n");
  for (const WeightShape& shape :
       {WeightShape{4096, 4096, 4, 128}, WeightShape{14336, 4096, 4, 128},
        WeightShape{8192, 28672, 4, 128}}) {
    AWQ_CUDA_TRY(BenchShape(linears, shape, copy_bytes_per_s));
  }
  return {};
}

int Main(const std::vector<std::string>& words) {
  const std::string what = words.empty() ? "" : words[0];
  if (what == "emulate") {
    return Emulate();
  }
  if (what != "test" && what != "bench") {
    std::printf("gpu_bench emulate | test [short] | bench\n");
    return 1;
  }
  int count = 0;
  Linears linears;
  if (const Fault fault = CountDevices(&count)) {
    return Report(fault);
  }
  if (const Fault fault = linears.Create(0)) {
    return Report(fault);
  }
  if (what == "test") {
    return Test(linears, words.size() > 1 && words[1] == "short");
  }
  const Fault fault = Bench(linears);
  return fault ? Report(fault) : 0;
}

}  // namespace
}  // namespace awq::cuda

int main(int argc, char** argv) { return awq::cuda::Main({argv + 1, argv + argc}); }
