#include "cuda/device.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <numeric>
#include <ostream>
#include <vector>

#include "cuda/copy.h"
#include "cuda/emulated_device.h"
#include "cuda/test_ops_device.h"
#include "cuda/test_ops_rows.h"

namespace awq::cuda {
namespace {

class EmulatedDevice : public testing::Test {
 protected:
  ~EmulatedDevice() override {
    SetEmulatedMachine({});
    EXPECT_EQ(CountEmulatedUse().bytes, 0u);
  }
};

TEST_F(EmulatedDevice, IsWhatTheMachineSays) {
  SetEmulatedMachine({.devices = 2, .memory_bytes = 5 << 20, .multiprocessors = 7});
  int count = 0;
  ASSERT_FALSE(CountDevices(&count));
  EXPECT_EQ(count, 2);
  DeviceInfo info;
  ASSERT_FALSE(DescribeDevice(1, &info));
  EXPECT_EQ(info.name, "emulated");
  EXPECT_EQ(info.multiprocessors, 7);
  EXPECT_EQ(info.memory_bytes, 5u << 20);
  EXPECT_TRUE(UseDevice(2));
  SetEmulatedMachine({.devices = 0});
  EXPECT_EQ(CountDevices(&count).kind, FaultKind::kNoDevice);
  EXPECT_EQ(count, 0);
  DeviceMemory memory;
  EXPECT_EQ(memory.Allocate(1).kind, FaultKind::kNoDevice);
}

TEST_F(EmulatedDevice, HasSoMuchMemoryEach) {
  SetEmulatedMachine({.devices = 2, .memory_bytes = 5 << 20});
  DeviceMemory a, b;
  ASSERT_FALSE(a.Allocate(3 << 20));
  EXPECT_EQ(a.data<std::uint32_t>()[0], 0xffffffffu);
  const Fault fault = b.Allocate(3 << 20);
  EXPECT_EQ(fault.kind, FaultKind::kOutOfMemory);
  EXPECT_EQ(fault.message, "out of GPU memory: 3 MiB were asked for, 2 MiB of 5 MiB are free");
  EXPECT_EQ(b.bytes(), 0u);
  ASSERT_FALSE(UseDevice(1));
  EXPECT_FALSE(b.Allocate(3 << 20));
  ASSERT_FALSE(UseDevice(0));
  std::size_t free_bytes = 0, total_bytes = 0;
  ASSERT_FALSE(FreeMemory(&free_bytes, &total_bytes));
  EXPECT_EQ(free_bytes, 2u << 20);
  ASSERT_FALSE(a.Allocate(5 << 20)) << "what it had is given back first";
}

TEST_F(EmulatedDevice, CopiesThereAndBack) {
  std::vector<int> in(1000), out(1000);
  std::iota(in.begin(), in.end(), 1);
  const std::size_t bytes = in.size() * sizeof(int);
  Stream stream;
  DeviceMemory a, b;
  Event begin, end;
  ASSERT_FALSE(stream.Create());
  ASSERT_FALSE(begin.Create());
  ASSERT_FALSE(end.Create());
  ASSERT_FALSE(a.Allocate(bytes));
  ASSERT_FALSE(b.Allocate(bytes));
  ASSERT_FALSE(begin.Record(stream.handle()));
  ASSERT_FALSE(CopyToDevice(a.data(), in.data(), bytes, stream.handle()));
  ASSERT_FALSE(CopyOnDevice(b.data(), a.data(), bytes, stream.handle()));
  ASSERT_FALSE(end.Record(stream.handle()));
  ASSERT_FALSE(CopyToHost(out.data(), b.data(), bytes, stream.handle()));
  ASSERT_FALSE(stream.Synchronize());
  EXPECT_EQ(in, out);
  double seconds = -1;
  ASSERT_FALSE(end.Synchronize());
  ASSERT_FALSE(end.SecondsSince(begin, &seconds));
  EXPECT_GE(seconds, 0);
  ASSERT_FALSE(FillBytes(a.data<unsigned char>() + 4, 0, 4, nullptr));
  ASSERT_FALSE(CopyToHost(out.data(), a.data(), bytes, nullptr));
  EXPECT_EQ(out[1], 0);
  EXPECT_EQ(out[2], 3);
}

// As late as a device may, so that a wait that is missing is seen.
TEST_F(EmulatedDevice, DoesWhatAStreamIsGivenWhenSomebodyWaits) {
  Stream stream, other;
  DeviceMemory memory;
  PinnedMemory from, to;
  Event copied;
  for (Stream* each : {&stream, &other}) ASSERT_FALSE(each->Create());
  for (PinnedMemory* each : {&from, &to}) ASSERT_FALSE(each->Allocate(1));
  ASSERT_FALSE(memory.Allocate(1));
  ASSERT_FALSE(copied.Create());
  auto& source = *from.data<char>();
  const auto& found = *to.data<char>();
  for (const bool is_late : {true, false}) {
    SetEmulatedMachine({.late_streams = is_late});
    source = 1;
    to.data<char>()[0] = 0;
    ASSERT_FALSE(CopyToDevice(memory.data(), from.data(), 1, stream.handle()));
    source = 2;
    ASSERT_FALSE(copied.Record(stream.handle()));
    ASSERT_FALSE(CopyToHost(to.data(), memory.data(), 1, stream.handle()));
    ASSERT_FALSE(other.Synchronize());
    EXPECT_EQ(found, is_late ? 0 : 1);
    ASSERT_FALSE(copied.Synchronize());
    EXPECT_EQ(found, is_late ? 0 : 1) << "that comes after the event";
    ASSERT_FALSE(Synchronize());
    EXPECT_EQ(found, is_late ? 2 : 1);
  }
}

TEST_F(EmulatedDevice, TellsFaultsToWhoWaits) {
  Stream stream;
  PinnedMemory from;
  DeviceMemory memory;
  ASSERT_FALSE(stream.Create());
  ASSERT_FALSE(from.Allocate(1));
  ASSERT_FALSE(memory.Allocate(1));
  ASSERT_FALSE(CopyToDevice(memory.data(), from.data(), 1, stream.handle()));
  from = PinnedMemory();
  EXPECT_EQ(stream.Synchronize().message, "copying: pinned memory was given back before its copy");
  EXPECT_TRUE(stream.Synchronize()) << "there nothing works any more";
}

TEST_F(EmulatedDevice, RefusesWhatIsNotItsMemory) {
  int x = 1;
  DeviceMemory memory;
  ASSERT_FALSE(memory.Allocate(4));
  EXPECT_TRUE(CopyToDevice(&x, memory.data(), 4, nullptr));
  EXPECT_TRUE(CopyToDevice(memory.data(), memory.data(), 4, nullptr));
  EXPECT_TRUE(CopyToHost(&x, memory.data(), 5, nullptr));
  EXPECT_TRUE(FillBytes(&x, 0, 4, nullptr));
  EXPECT_FALSE(CopyToHost(&x, memory.data(), 4, nullptr));
}

// The public functions themselves, on the emulated device's memory. ops_test.cc has all the rows.
TEST_F(EmulatedDevice, RunsEveryLaunch) {
  for (const auto& rows : {TokenRows(), KvRows(), AttentionRows(), SampleRows(), GramRows()}) {
    for (std::size_t i = 0; i < rows.size(); i += 4) {
      DeviceOps backend;
      EXPECT_EQ(rows[i].check(backend), "") << rows[i].name;
    }
  }
}

TEST_F(EmulatedDevice, RefusesLaunchesThatADeviceRefuses) {
  const auto nothing = [] {};
  EXPECT_TRUE(RunKernel({.blocks = {0, 1, 1}}, nothing));
  EXPECT_TRUE(RunKernel({.blocks = {1, 65536, 1}}, nothing));
  EXPECT_TRUE(RunKernel({.threads = 1025}, nothing));
  EXPECT_TRUE(RunKernel({.shared_bytes = 228 << 10}, nothing));
  SetEmulatedMachine({.major = 8, .minor = 6});
  EXPECT_TRUE(RunKernel({.shared_bytes = 100 << 10}, nothing));
  EXPECT_FALSE(RunKernel({.shared_bytes = 99 << 10}, nothing));
}

}  // namespace
}  // namespace awq::cuda
