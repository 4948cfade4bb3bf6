#include "hub/cache.h"

#include <gtest/gtest.h>

#include <chrono>
#include <optional>
#include <thread>

#include "io/file.h"
#include "testing/paths.h"

namespace awq::hub {
namespace {

namespace fs = std::filesystem;

const std::string kCommit(40, 'c');
const std::string kHash(40, 'a');

class CacheTest : public ::testing::Test {
 protected:
  void Write(const std::string& name, std::string_view content) {
    const fs::path path = snapshot_ / name;
    fs::create_directories(path.parent_path());
    ASSERT_TRUE(io::WriteFileAtomically(path, content).ok());
  }

  testing::TemporaryDirectory directory_;
  RepositoryCache cache_{directory_.path(), {.org = "org", .name = "n.a-me"}};
  fs::path snapshot_ = cache_.Snapshot(kCommit);
};

TEST_F(CacheTest, Names) {
  EXPECT_EQ(cache_.folder(), directory_.path() / "models--org--n.a-me");
  EXPECT_EQ(cache_.Blob(kHash), cache_.folder() / "blobs" / kHash);
  EXPECT_EQ(cache_.LockOf(kHash),
            directory_.path() / ".locks" / "models--org--n.a-me" / (kHash + ".lock"));
}

TEST_F(CacheTest, References) {
  EXPECT_FALSE(cache_.FindCommit("main").has_value());
  EXPECT_EQ(cache_.FindCommit(kCommit), kCommit);
  ASSERT_TRUE(cache_.WriteReference("refs/pr/1", kCommit).ok());
  EXPECT_EQ(cache_.FindCommit("refs/pr/1"), kCommit);
  // Without a line's end, as the other programs read it.
  EXPECT_EQ(*io::ReadFile(cache_.folder() / "refs/refs/pr/1"), kCommit);
  // Nothing is written for what a commit is by itself.
  ASSERT_TRUE(cache_.WriteReference(kCommit, kCommit).ok());
  EXPECT_FALSE(fs::exists(cache_.folder() / "refs" / kCommit));
  for (const char* damaged : {"", "main", "../../x", "c0ffee"}) {
    ASSERT_TRUE(io::WriteFileAtomically(cache_.folder() / "refs/main", damaged).ok());
    EXPECT_FALSE(cache_.FindCommit("main").has_value()) << damaged;
  }
}

TEST_F(CacheTest, LinksAreRelativeAndReplaced) {
  ASSERT_TRUE(cache_.MakeFolders().ok());
  ASSERT_TRUE(io::WriteFileAtomically(cache_.Blob(kHash), "content").ok());
  for (int twice = 0; twice < 2; ++twice) {
    ASSERT_TRUE(cache_.Link(kCommit, "a/b", kHash).ok());
    EXPECT_EQ(fs::read_symlink(snapshot_ / "a/b"), "../../../blobs/" + kHash);
    EXPECT_EQ(*io::ReadFile(snapshot_ / "a/b"), "content");
  }
  // A link that leads nowhere is as good as none.
  fs::remove(cache_.Blob(kHash));
  EXPECT_FALSE(cache_.Has(kCommit, "a/b"));
  const std::string other(64, 'b');
  ASSERT_TRUE(io::WriteFileAtomically(cache_.Blob(other), "new").ok());
  ASSERT_TRUE(cache_.Link(kCommit, "a/b", other).ok());
  EXPECT_EQ(*io::ReadFile(snapshot_ / "a/b"), "new");
  EXPECT_EQ(std::distance(fs::directory_iterator(snapshot_ / "a"), {}), 1);
}

TEST_F(CacheTest, Absence) {
  EXPECT_FALSE(cache_.IsKnownAbsent(kCommit, "a/b"));
  ASSERT_TRUE(cache_.MarkAbsent(kCommit, "a/b").ok());
  EXPECT_TRUE(cache_.IsKnownAbsent(kCommit, "a/b"));
  EXPECT_EQ(fs::file_size(cache_.folder() / ".no_exist" / kCommit / "a/b"), 0U);
}

TEST_F(CacheTest, LocksExcludeOthers) {
  ASSERT_TRUE(cache_.MakeFolders().ok());
  std::atomic<bool> stop = false;
  auto first = std::make_optional(FileLock::Acquire(cache_.LockOf(kHash), stop).value());
  std::atomic<bool> acquired = false;
  std::thread second([&] {
    const auto lock = FileLock::Acquire(cache_.LockOf(kHash), stop);
    acquired = lock.ok();
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_FALSE(acquired);
  first.reset();
  second.join();
  EXPECT_TRUE(acquired);
  // Who waits can be told to stop.
  const auto held = FileLock::Acquire(cache_.LockOf(kHash), stop);
  stop = true;
  EXPECT_FALSE(FileLock::Acquire(cache_.LockOf(kHash), stop).ok());
}

TEST_F(CacheTest, WhatAModelLacks) {
  EXPECT_EQ(MissingOfModel(snapshot_, true).size(), 2U);
  EXPECT_EQ(MissingOfModel(snapshot_, false), std::vector<std::string>{"tokenizer.json"});
  Write("config.json", "{}");
  Write("tokenizer.json", "{}");
  EXPECT_TRUE(MissingOfModel(snapshot_, false).empty());
  EXPECT_EQ(MissingOfModel(snapshot_, true).size(), 1U);
  Write("model.safetensors.index.json",
        R"({"weight_map": {"x": "1.safetensors", "y": "2.safetensors"}})");
  Write("1.safetensors", "");
  EXPECT_EQ(MissingOfModel(snapshot_, true), std::vector<std::string>{"2.safetensors"});
  Write("2.safetensors", "");
  EXPECT_TRUE(MissingOfModel(snapshot_, true).empty());
  Write("model.safetensors.index.json", "damaged");
  EXPECT_EQ(MissingOfModel(snapshot_, true).size(), 1U);
  Write("model.safetensors", "");
  EXPECT_TRUE(MissingOfModel(snapshot_, true).empty());
}

}  // namespace
}  // namespace awq::hub
