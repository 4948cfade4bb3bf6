// Where tests find golden files, shared data and room to write.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

namespace awq::testing {

inline std::filesystem::path SourceDir() { return AWQ_SOURCE_DIR; }
inline std::filesystem::path GoldenDir() { return SourceDir() / "tests" / "golden"; }

// Real models, layers and texts, not part of the repository. AWQ_TEST_DATA names the folder.
inline std::filesystem::path DataDir() {
  const char* data = std::getenv("AWQ_TEST_DATA");
  return data != nullptr ? std::filesystem::path(data) : SourceDir() / ".." / "shared" / "data";
}

// A fresh directory that is removed at the end of the test.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "awq_test_XXXXXX").string();
    if (mkdtemp(pattern.data()) != nullptr) path_ = pattern;
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace awq::testing

// Skips the test, and says so, where the shared data is absent.
#define AWQ_NEEDS_DATA(relative)                                              \
  if (!std::filesystem::exists(awq::testing::DataDir() / (relative)))         \
  GTEST_SKIP() << "needs " << (awq::testing::DataDir() / (relative)).string() \
               << "; point AWQ_TEST_DATA at the folder that holds it"
