// The folder in which huggingface_hub keeps what it downloaded, in its layout, so that one finds
// what the other brought (docs/hub.md).
#pragma once

#include <awq/result.h>

#include <atomic>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "hub/name.h"

namespace awq::hub {

// One repository in the cache. Names, hashes and commits given to it have been checked.
class RepositoryCache {
 public:
  RepositoryCache(const std::filesystem::path& cache, const ModelName& name);

  const std::filesystem::path& folder() const { return folder_; }
  std::filesystem::path Blob(const std::string& hash) const;
  std::filesystem::path Incomplete(const std::string& hash) const;
  std::filesystem::path Snapshot(const std::string& commit) const;

  // The commit that the revision was when it was last asked for, or nothing. A whole commit is
  // itself.
  std::optional<std::string> FindCommit(const std::string& revision) const;
  Status WriteReference(const std::string& revision, const std::string& commit) const;

  bool Has(const std::string& commit, const std::string& file) const;
  // Lets the commit's file be the blob, by a relative link.
  Status Link(const std::string& commit, const std::string& file, const std::string& hash) const;

  // That the repository has no such file at this commit.
  bool IsKnownAbsent(const std::string& commit, const std::string& file) const;
  Status MarkAbsent(const std::string& commit, const std::string& file) const;

  // Creates the folders of blobs and of locks.
  Status MakeFolders() const;
  std::filesystem::path LockOf(const std::string& hash) const;

 private:
  std::filesystem::path folder_;
  std::filesystem::path locks_;
};

// flock(2) on a file of its own, as huggingface_hub takes it before it writes a blob.
class FileLock {
 public:
  // Waits while another process has it, until `stop`.
  static Result<FileLock> Acquire(const std::filesystem::path& path, const std::atomic<bool>& stop);
  ~FileLock();
  FileLock(FileLock&& other) noexcept;
  FileLock& operator=(FileLock&& other) noexcept;

 private:
  explicit FileLock(int descriptor) : descriptor_(descriptor) {}
  int descriptor_;
};

// What a model lacks in a snapshot: config.json and weights, one file or all that the index names;
// without weights, tokenizer.json. Empty: nothing. Words for people, not always names of files.
std::vector<std::string> MissingOfModel(const std::filesystem::path& snapshot, bool weights);

}  // namespace awq::hub
