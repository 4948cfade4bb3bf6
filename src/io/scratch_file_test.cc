#include "io/scratch_file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <csignal>
#include <utility>

#include "base/checked.h"
#include "base/memory.h"
#include "testing/paths.h"

namespace awq::io {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;

std::byte At(std::size_t i) { return static_cast<std::byte>(i * 7 % 251); }

TEST(ScratchFileTest, KeepsWhatWasReleasedAndLeavesNoName) {
  const awq::testing::TemporaryDirectory directory;
  constexpr std::size_t kBytes = 4 * kMiB + 5;
  auto made = ScratchFile::Create(kBytes, directory.path());
  ASSERT_TRUE(made.ok()) << made.error().message;
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
  const ScratchFile file = std::move(*made);
  const std::span<std::byte> bytes = file.bytes();
  ASSERT_EQ(bytes.size(), kBytes);
  EXPECT_TRUE(std::ranges::all_of(bytes, [](std::byte b) { return b == std::byte{0}; }));
  for (std::size_t i = 0; i < kBytes; ++i) bytes[i] = At(i);
  for (const auto& [first, count] : std::vector<std::pair<std::size_t, std::size_t>>{
           {0, kBytes}, {1, 1}, {4095, 2}, {kBytes - 1, 1}, {kBytes, 0}}) {
    file.Release(first, count);
    std::size_t same = 0;
    for (std::size_t i = 0; i < kBytes; ++i) same += bytes[i] == At(i) ? 1U : 0U;
    EXPECT_EQ(same, kBytes);
  }
}

TEST(ScratchFileTest, ReleasedPagesLeaveMemory) {
  const awq::testing::TemporaryDirectory directory;
  constexpr std::size_t kBytes = 32 * kMiB;
  const auto file = ScratchFile::Create(kBytes, directory.path());
  ASSERT_TRUE(file.ok()) << file.error().message;
  std::ranges::fill(file->bytes(), std::byte{1});
  const std::size_t before = ReadMemoryUse().mapped_file_bytes;
  if (before < kBytes) GTEST_SKIP() << "the kernel does not count mapped pages here";
  file->Release(0, kBytes);
  // Read here and there, no whole pages.
  std::size_t sum = 0;
  for (std::size_t i = 0; i < kBytes; i += 50000) {
    sum += std::to_integer<std::size_t>(file->bytes()[i]);
    file->Release(i, 1);
  }
  EXPECT_EQ(sum, CeilDiv(kBytes, std::size_t{50000}));
  EXPECT_LE(ReadMemoryUse().mapped_file_bytes, before - kBytes * 3 / 4);
}

TEST(ScratchFileTest, FindsOutAtOnceThatThereIsNoRoom) {
  const awq::testing::TemporaryDirectory directory;
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  signal(SIGXFSZ, SIG_IGN);
  const rlimit small{.rlim_cur = kMiB, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto refused = ScratchFile::Create(2 * kMiB, directory.path());
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  ASSERT_FALSE(refused.ok());
  for (const std::string& word :
       {directory.path().string(), std::string("2097152"), std::string("TMPDIR")}) {
    EXPECT_NE(refused.error().message.find(word), std::string::npos) << refused.error().message;
  }
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
  const auto absent = ScratchFile::Create(1, directory.path() / "absent");
  ASSERT_FALSE(absent.ok());
  EXPECT_EQ(absent.error().code, ErrorCode::kNotFound);
}

TEST(ScratchFileTest, LiesWhereTheEnvironmentSays) {
  const char* value = std::getenv("TMPDIR");
  const std::string before = value == nullptr ? "" : value;
  setenv("TMPDIR", "/elsewhere", 1);
  EXPECT_EQ(ScratchDirectory(), "/elsewhere");
  setenv("TMPDIR", "", 1);
  EXPECT_EQ(ScratchDirectory(), "/var/tmp");
  setenv("TMPDIR", before.c_str(), 1);
}

}  // namespace
}  // namespace awq::io
