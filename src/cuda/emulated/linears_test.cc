#include "cuda/linears.h"

#include <gtest/gtest.h>

#include <vector>

#include "cuda/emulated_device.h"
#include "cuda/test_linear.h"

namespace awq::cuda {
namespace {

class EmulatedLinears : public testing::Test {
 protected:
  ~EmulatedLinears() override { SetEmulatedMachine({}); }
};

// As a program does it: everything on the device, by a stream.
Fault Multiply(Linears& linears, const LinearProblem& problem, std::vector<unsigned char>& y) {
  Stream stream;
  AWQ_CUDA_TRY(stream.Create());
  const auto upload = [&](DeviceMemory& memory, const auto& from) -> Fault {
    const std::size_t bytes = from.size() * sizeof(from[0]);
    AWQ_CUDA_TRY(memory.Allocate(bytes));
    return CopyToDevice(memory.data(), from.data(), bytes, stream.handle());
  };
  DeviceMemory codes, scales, zeros, x, bias, out;
  AWQ_CUDA_TRY(upload(codes, problem.packed.codes));
  AWQ_CUDA_TRY(upload(scales, problem.packed.scales));
  AWQ_CUDA_TRY(upload(zeros, problem.packed.zeros));
  AWQ_CUDA_TRY(upload(x, problem.x));
  AWQ_CUDA_TRY(upload(bias, problem.bias));
  AWQ_CUDA_TRY(out.Allocate(y.size()));
  LinearCall call;
  call.weights = {problem.row.shape, codes.data(), scales.data(), zeros.data()};
  call.x_type = problem.row.x_type;
  call.x = x.data();
  call.tokens = problem.row.tokens;
  call.y_type = problem.row.y_type;
  call.y = out.data();
  call.bias = bias.data<float>();
  AWQ_CUDA_TRY(linears.Multiply(call, stream.handle()));
  AWQ_CUDA_TRY(CopyToHost(y.data(), out.data(), y.size(), stream.handle()));
  return stream.Synchronize();
}

void ExpectRight(const LinearRow& row, LinearWay way) {
  Linears linears;
  ASSERT_EQ(linears.Create(0).message, "");
  const DeviceInfo& device = linears.device();
  EXPECT_EQ(ChooseLinear(10 * device.major + device.minor, row.shape, row.tokens).way, way);
  const LinearProblem problem(row);
  std::vector<unsigned char> y = problem.EmptyOutput();
  EXPECT_EQ(Multiply(linears, problem, y).message, "");
  EXPECT_EQ(Compare(problem, y, way == LinearWay::kDense), "");
}

TEST_F(EmulatedLinears, AreRightEveryWay) {
  for (const int tokens : {1, 8}) {
    ExpectRight({{136, 352, 4, 32}, tokens, Float::kHalf, Float::kHalf, true}, LinearWay::kStream);
    ExpectRight({{64, 128, 3, 128}, tokens, Float::kBfloat16}, LinearWay::kStream);
  }
  for (const int tokens : {9, 17, 40, 70}) {
    ExpectRight({{136, 352, 4, 32}, tokens, Float::kBfloat16, Float::kBfloat16, true},
                LinearWay::kWgmma);
    ExpectRight({{64, 128, 8, 64}, tokens}, LinearWay::kWgmma);
  }
  ExpectRight({{72, 96, 4, 32}, 520, Float::kHalf, Float::kHalf, true}, LinearWay::kDense);
  ExpectRight({{72, 96, 4, 32}, 513, Float::kBfloat16}, LinearWay::kDense);
}

TEST_F(EmulatedLinears, AreRightWhereThereIsNoWgmma) {
  for (const int major : {8, 10, 12}) {
    SetEmulatedMachine({.major = major});
    for (const int tokens : {9, 17, 40}) {
      ExpectRight({{136, 352, 4, 32}, tokens, Float::kBfloat16, Float::kBfloat16, true},
                  LinearWay::kTile);
      ExpectRight({{64, 128, 8, 64}, tokens}, LinearWay::kTile);
    }
    Linears linears;
    ASSERT_EQ(linears.Create(0).message, "");
    EXPECT_FALSE(linears.HasWgmma());
  }
}

TEST_F(EmulatedLinears, DoWithoutTheDenseLibrary) {
  for (const int major : {8, 9}) {
    SetEmulatedMachine({.major = major, .has_dense_library = false});
    Linears linears;
    ASSERT_EQ(linears.Create(0).message, "");
    EXPECT_EQ(linears.HasWgmma(), major == 9);
    const LinearProblem problem(LinearRow{{64, 32, 4, 32}, 1025});
    std::vector<unsigned char> y = problem.EmptyOutput();
    EXPECT_EQ(Multiply(linears, problem, y).message, "");
    EXPECT_EQ(Compare(problem, y), "");
  }
}

TEST_F(EmulatedLinears, NeedMemoryAndADeviceThatIsNewEnough) {
  SetEmulatedMachine({.memory_bytes = 200 << 10});
  EXPECT_EQ(Linears().Create(0).message,
            "out of GPU memory: 0 MiB were asked for, 0 MiB of 0 MiB are free");
  SetEmulatedMachine({.major = 7, .minor = 5});
  EXPECT_EQ(Linears().Create(0).kind, FaultKind::kUnsupported);
  SetEmulatedMachine({.devices = 0});
  EXPECT_EQ(Linears().Create(0).kind, FaultKind::kNoDevice);
}

}  // namespace
}  // namespace awq::cuda
