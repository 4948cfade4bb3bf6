#include "hub/cache.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <span>
#include <system_error>
#include <thread>
#include <utility>

#include "base/error.h"
#include "hub/answer.h"
#include "io/file.h"
#include "io/shard_index.h"

namespace awq::hub {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxReferenceBytes = 1024;
constexpr std::size_t kMaxIndexBytes = std::size_t{64} << 20;
constexpr mode_t kLockMode = 0664;  // others of the group may wait for it
constexpr auto kLockPause = std::chrono::milliseconds(100);

Status MakeFolder(const fs::path& path) {
  std::error_code failure;
  fs::create_directories(path, failure);
  if (failure) return io::SystemError(path, "create the folder", failure.value());
  return {};
}

bool Exists(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

// Beside `path`, and of this process alone: others may write the same at this moment.
fs::path FreshName(fs::path path) { return path += fmt::format(".{}.tmp", getpid()); }

// In one step; who reads `path` sees the one or the other.
Status Replace(const fs::path& path, const fs::path& fresh) {
  if (rename(fresh.c_str(), path.c_str()) == 0) return {};
  return io::SystemError(path, "replace it", errno);
}

std::string FolderName(const ModelName& name) {
  return fmt::format("models--{}--{}", name.org, name.name);
}

}  // namespace

RepositoryCache::RepositoryCache(const fs::path& cache, const ModelName& name)
    : folder_(cache / FolderName(name)), locks_(cache / ".locks" / FolderName(name)) {}

fs::path RepositoryCache::Blob(const std::string& hash) const { return folder_ / "blobs" / hash; }

fs::path RepositoryCache::Incomplete(const std::string& hash) const {
  return folder_ / "blobs" / (hash + ".incomplete");
}

fs::path RepositoryCache::Snapshot(const std::string& commit) const {
  return folder_ / "snapshots" / commit;
}

fs::path RepositoryCache::LockOf(const std::string& hash) const {
  return locks_ / (hash + ".lock");
}

Status RepositoryCache::MakeFolders() const {
  AWQ_TRY(MakeFolder(folder_ / "blobs"));
  return MakeFolder(locks_);
}

std::optional<std::string> RepositoryCache::FindCommit(const std::string& revision) const {
  if (IsCommit(revision)) return revision;
  const auto commit = io::ReadFile(folder_ / "refs" / revision, kMaxReferenceBytes);
  if (!commit || !IsCommit(*commit)) return std::nullopt;
  return *commit;
}

Status RepositoryCache::WriteReference(const std::string& revision,
                                       const std::string& commit) const {
  if (FindCommit(revision) == commit) return {};
  const fs::path path = folder_ / "refs" / revision;
  AWQ_TRY(MakeFolder(path.parent_path()));
  const fs::path fresh = FreshName(path);
  AWQ_ASSIGN(io::OutputFile file, io::OutputFile::Create(fresh));
  AWQ_TRY(file.Write(0, std::as_bytes(std::span(commit))));
  AWQ_TRY(file.Close());
  return Replace(path, fresh);
}

bool RepositoryCache::Has(const std::string& commit, const std::string& file) const {
  return Exists(Snapshot(commit) / file);
}

Status RepositoryCache::Link(const std::string& commit, const std::string& file,
                             const std::string& hash) const {
  const fs::path path = Snapshot(commit) / file;
  AWQ_TRY(MakeFolder(path.parent_path()));
  const fs::path target = Blob(hash).lexically_relative(path.parent_path());
  const fs::path fresh = FreshName(path);
  unlink(fresh.c_str());
  if (symlink(target.c_str(), fresh.c_str()) != 0) {
    return io::SystemError(fresh, "create the symbolic link", errno);
  }
  return Replace(path, fresh);
}

bool RepositoryCache::IsKnownAbsent(const std::string& commit, const std::string& file) const {
  return Exists(folder_ / ".no_exist" / commit / file);
}

Status RepositoryCache::MarkAbsent(const std::string& commit, const std::string& file) const {
  const fs::path path = folder_ / ".no_exist" / commit / file;
  if (Exists(path)) return {};
  AWQ_TRY(MakeFolder(path.parent_path()));
  AWQ_ASSIGN(io::OutputFile mark, io::OutputFile::Create(path));
  return mark.Close();
}

Result<FileLock> FileLock::Acquire(const fs::path& path, const std::atomic<bool>& stop) {
  const int descriptor = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, kLockMode);
  if (descriptor < 0) return io::SystemError(path, "open the lock", errno);
  FileLock lock(descriptor);
  while (flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
    // Without locks two programs fetch the same twice; the hash says what may count.
    if (errno == ENOSYS || errno == ENOTSUP || errno == ENOLCK) break;
    if (errno != EWOULDBLOCK && errno != EINTR) return io::SystemError(path, "lock it", errno);
    if (stop) return MakeError(ErrorCode::kIo, "stopped");
    std::this_thread::sleep_for(kLockPause);
  }
  return lock;
}

FileLock::~FileLock() {
  if (descriptor_ >= 0) close(descriptor_);
}

FileLock::FileLock(FileLock&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}

FileLock& FileLock::operator=(FileLock&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

std::vector<std::string> MissingOfModel(const fs::path& snapshot, bool weights) {
  if (!weights) {
    if (Exists(snapshot / "tokenizer.json")) return {};
    return {"tokenizer.json"};
  }
  std::vector<std::string> missing;
  if (!Exists(snapshot / "config.json")) missing.emplace_back("config.json");
  if (Exists(snapshot / "model.safetensors")) return missing;
  const fs::path index = snapshot / "model.safetensors.index.json";
  const auto text = io::ReadFile(index, kMaxIndexBytes);
  const auto shards = text ? io::ReadShardNames(*text, index.string())
                           : Result<std::vector<std::string>>(text.error());
  if (!shards) {
    missing.emplace_back("model.safetensors (or its index and the files that it names)");
    return missing;
  }
  for (const std::string& shard : *shards) {
    if (!Exists(snapshot / shard)) missing.push_back(shard);
  }
  return missing;
}

}  // namespace awq::hub
