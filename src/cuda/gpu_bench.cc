// What tools/gpu_check runs: no library but CUDA's.
//
//   gpu_bench emulate        the tests' rows on the emulator
//   gpu_bench test [short]   the rows on the device
//   gpu_bench bench          a Markdown table: time beside a copy's bandwidth and cuBLASLt's bf16
//
// Exit status: 0, 1 for a wrong result or a fault, 77 where there is no device.
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "cuda/linear_stream.cuh"
#include "cuda/linear_tile.cuh"
#include "cuda/linear_wgmma.cuh"
#include "cuda/linears.h"
#include "cuda/test_bench.h"
#include "cuda/test_graph.h"
#include "cuda/test_linear_bench.h"
#include "cuda/test_linear_rows.h"
#include "cuda/test_ops_bench.h"
#include "cuda/test_ops_device.h"
#include "cuda/test_ops_emulated.h"
#include "cuda/test_ops_rows.h"
#include "cuda/test_rounding.h"
#include "cuda/test_search_bench.h"

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
  const bool is_small = test.choice.tile_tokens == 16;
  if (test.choice.way == LinearWay::kWgmma) {
    return is_small ? LaunchWgmma<T, 16>(launcher, call, work, kMultiprocessors)
                    : LaunchWgmma<T, 128>(launcher, call, work, kMultiprocessors);
  }
  return is_small ? LaunchTile<T, 16>(launcher, call, work, kMultiprocessors)
                  : LaunchTile<T, 64>(launcher, call, work, kMultiprocessors);
}

int EmulateLinears() {
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

// Every row on a backend of its own.
template <class MakeBackend>
int RunOps(const char* where, MakeBackend make) {
  int wrong = 0;
  const std::vector<OpsRow> rows = AllOpsRows();
  for (const OpsRow& row : rows) {
    auto backend = make();
    const std::string said = row.check(backend);
    if (!said.empty()) {
      std::printf("WRONG, %s: %s: %s\n", where, row.name.c_str(), said.c_str());
      ++wrong;
    }
  }
  std::printf("%s: %zu operations, %d wrong\n", where, rows.size(), wrong);
  return wrong == 0 ? 0 : 1;
}

int Emulate() {
  const int linears = EmulateLinears();
  const int ops = RunOps("emulated", [] { return EmulatedOps({}); });
  return linears != 0 ? linears : ops;
}

// ---- the device ----

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

int TestLinears(Linears& linears, bool is_short) {
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

int TestRounding() {
  int wrong = 0;
  const std::vector<RoundingRow> rows = RoundingRows();
  for (const RoundingRow& row : rows) {
    RoundingDevice device;
    const std::string said = row.check(device);
    if (said.empty()) continue;
    std::printf("WRONG: %s: %s\n", row.name.c_str(), said.c_str());
    ++wrong;
  }
  std::printf("on the device: %zu of rounding, %d wrong\n", rows.size(), wrong);
  return wrong == 0 ? 0 : 1;
}

int Test(Linears& linears, bool is_short) {
  const int of_linears = TestLinears(linears, is_short);
  const int rounding = TestRounding();
  const int ops = RunOps("on the device", [] { return DeviceOps(); });
  const std::string said = CheckGraph(!is_short);
  std::printf("on the device: a graph, %s\n", said.empty() ? "right" : said.c_str());
  return of_linears != 0 || rounding != 0 || ops != 0 || !said.empty() ? 1 : 0;
}

Fault Bench(Linears& linears) {
  double copy_bytes_per_s = 0;
  AWQ_CUDA_TRY(MeasureCopy(linears.device(), copy_bytes_per_s));
  AWQ_CUDA_TRY(BenchLinears(linears, copy_bytes_per_s));
  AWQ_CUDA_TRY(BenchWays(linears, {14336, 4096, 4, 128}, {16, 32, 64, 128, 256, 512}));
  AWQ_CUDA_TRY(BenchOps(linears, copy_bytes_per_s, {}));
  return BenchSearch({});
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
