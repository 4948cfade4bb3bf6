#include "cuda/device.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "cuda/copy.h"
#include "cuda/test_graph.h"

namespace awq::cuda {
namespace {

TEST(Device, SaysWhyThereIsNone) {
  int count = -1;
  const Fault fault = CountDevices(&count);
  EXPECT_EQ(static_cast<bool>(fault), count == 0);
  if (fault) {
    EXPECT_FALSE(fault.message.empty());
    DeviceMemory memory;
    EXPECT_EQ(memory.Allocate(16).kind, fault.kind);
    EXPECT_EQ(memory.bytes(), 0u);
    EXPECT_EQ(memory.data(), nullptr);
  }
}

TEST(OnDevice, CopiesThereAndBack) {
  int count = 0;
  if (const Fault fault = CountDevices(&count)) {
    GTEST_SKIP() << "skipped: no CUDA device; " << fault.message;
  }
  std::vector<int> in(1 << 20), out(in.size());
  std::iota(in.begin(), in.end(), 1);
  const std::size_t bytes = in.size() * sizeof(int);
  Stream stream;
  DeviceMemory a, b;
  ASSERT_FALSE(stream.Create());
  ASSERT_FALSE(a.Allocate(bytes));
  ASSERT_FALSE(b.Allocate(bytes));
  ASSERT_FALSE(CopyToDevice(a.data(), in.data(), bytes, stream.handle()));
  ASSERT_FALSE(CopyOnDevice(b.data(), a.data(), bytes, stream.handle()));
  ASSERT_FALSE(CopyToHost(out.data(), b.data(), bytes, stream.handle()));
  const Fault fault = stream.Synchronize();
  ASSERT_FALSE(fault) << fault.message;
  EXPECT_EQ(in, out);
}

TEST(OnDevice, GraphsRunWhatWasRecorded) {
  int count = 0;
  if (const Fault fault = CountDevices(&count)) {
    GTEST_SKIP() << "skipped: no CUDA device; " << fault.message;
  }
  EXPECT_EQ(CheckGraph(true), "");
}

}  // namespace
}  // namespace awq::cuda
