#include "base/memory.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <thread>

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
