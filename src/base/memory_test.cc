#include "base/memory.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "testing/paths.h"

namespace awq {
namespace {

constexpr std::size_t kBytes = std::size_t{64} << 20;
// Of what else the process may give back meanwhile.
constexpr std::size_t kEnoughBytes = kBytes * 7 / 8;

void* AllocateTouched() {
  void* memory = AllocateAligned(kBytes);
  if (memory != nullptr) std::memset(memory, 1, kBytes);
  return memory;
}

class AvailableMemory : public ::testing::Test {
 protected:
  void Write(const std::string& path, const std::string& text) {
    const auto file = root_.path() / path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  std::size_t bytes() const { return AvailableMemoryBytes(root_.path()); }
  testing::TemporaryDirectory root_;
};

TEST_F(AvailableMemory, IsTheLeastOfTheMachineAndOfEveryGroup) {
  EXPECT_EQ(bytes(), SIZE_MAX);
  Write("proc/meminfo", "MemTotal: 9 kB\nMemAvailable:  5000 kB\nSwapFree:   1000 kB\n");
  EXPECT_EQ(bytes(), 6000U * 1024);
  Write("proc/self/cgroup", "1:name=systemd:/x\n0::/a/b\n");
  EXPECT_EQ(bytes(), 6000U * 1024);
  Write("sys/fs/cgroup/a/b/memory.max", "max\n");
  Write("sys/fs/cgroup/a/b/memory.current", "100\n");
  EXPECT_EQ(bytes(), 6000U * 1024);
  Write("sys/fs/cgroup/a/memory.max", "1000000\n");
  Write("sys/fs/cgroup/a/memory.current", "700000\n");
  EXPECT_EQ(bytes(), 300000U);
  Write("sys/fs/cgroup/a/memory.stat", "anon 1\ninactive_file 50000\nactive_file 25000\n");
  EXPECT_EQ(bytes(), 375000U);
  Write("sys/fs/cgroup/memory.max", "200");
  Write("sys/fs/cgroup/memory.current", "300");
  EXPECT_EQ(bytes(), 0U);
}

TEST(AvailableMemoryHere, IsSomethingWhereTheSystemSaysIt) {
  if (!std::filesystem::exists("/proc/meminfo")) GTEST_SKIP() << "there is no /proc";
  EXPECT_GT(AvailableMemoryBytes(), kBytes);
  EXPECT_LT(AvailableMemoryBytes(), SIZE_MAX);
}

TEST(AllocationWatchTest, SeesWhatIsHeldNow) {
  const std::size_t before = ReadMemoryUse().allocated_bytes;
  if (before == 0) GTEST_SKIP() << "/proc does not say what is allocated";
  AllocationWatch watch;
  EXPECT_LT(watch.peak_bytes(), before + kEnoughBytes);
  void* memory = AllocateTouched();
  ASSERT_NE(memory, nullptr);
  EXPECT_GE(watch.peak_bytes(), before + kEnoughBytes);
  FreeAligned(memory, kBytes);
}

TEST(AllocationWatchTest, RemembersWhatWasHeldForAWhile) {
  const std::size_t before = ReadMemoryUse().allocated_bytes;
  if (before == 0) GTEST_SKIP() << "/proc does not say what is allocated";
  AllocationWatch watch;
  // The watch looks by itself; on a busy machine now and then too late.
  for (int attempt = 0; attempt < 50; ++attempt) {
    void* memory = AllocateTouched();
    ASSERT_NE(memory, nullptr);
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    FreeAligned(memory, kBytes);
    if (watch.peak_bytes() >= before + kEnoughBytes) break;
  }
  EXPECT_GE(watch.peak_bytes(), before + kEnoughBytes);
}

}  // namespace
}  // namespace awq
