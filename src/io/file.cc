#include "io/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <system_error>
#include <utility>

#include "base/check.h"
#include "base/checked.h"
#include "base/error.h"
#include "io/gzip.h"

namespace awq::io {
namespace {

constexpr std::size_t kReadBytes = std::size_t{1} << 20;
constexpr std::size_t kMaxWriteBytes = std::size_t{1} << 30;  // Linux transfers below 2 GiB a call
constexpr mode_t kFileMode = 0666;                            // the umask takes its part

class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor() {
    if (number_ >= 0) close(number_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int number() const { return number_; }

 private:
  int number_;
};

std::size_t FreeBytes(int descriptor) {
  struct statvfs file_system {};
  if (fstatvfs(descriptor, &file_system) != 0) return 0;
  return static_cast<std::size_t>(file_system.f_bavail) * file_system.f_frsize;
}

Error DiskFull(const std::filesystem::path& path, std::size_t missing_bytes) {
  return MakeError(ErrorCode::kIo, "{}: the disk is full: free {} bytes there and run it again",
                   path.string(), missing_bytes);
}

// Opens for reading and refuses directories, whose open() succeeds.
Result<struct stat> OpenStat(int descriptor, const std::filesystem::path& path) {
  if (descriptor < 0) return SystemError(path, "open it", errno);
  struct stat status {};
  if (fstat(descriptor, &status) != 0) return SystemError(path, "inspect it", errno);
  if (S_ISDIR(status.st_mode)) return SystemError(path, "read it", EISDIR);
  return status;
}

// Read to the end instead of trusting the length: /proc says 0.
Result<ContentStart> ReadStart(int descriptor, const std::filesystem::path& path,
                               std::size_t limit_bytes) {
  ContentStart start;
  std::string chunk(kReadBytes, '\0');
  // One byte more than allowed tells that there is more.
  while (start.content.size() <= limit_bytes) {
    const std::size_t room = std::min(chunk.size(), limit_bytes - start.content.size() + 1);
    const ssize_t got = read(descriptor, chunk.data(), room);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return SystemError(path, "read it", errno);
    if (got == 0) {
      start.whole = true;
      return start;
    }
    start.content.append(chunk, 0, static_cast<std::size_t>(got));
  }
  start.content.resize(limit_bytes);
  return start;
}

Result<ContentStart> ReadStartOf(const std::filesystem::path& path, std::size_t limit_bytes) {
  // O_NONBLOCK: a pipe in place of the file must not hang us; it has no effect on regular files.
  const Descriptor descriptor(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  AWQ_ASSIGN(const struct stat status, OpenStat(descriptor.number(), path));
  if (!S_ISREG(status.st_mode)) {
    return MakeError(ErrorCode::kInvalidArgument, "{}: not a regular file", path.string());
  }
  return ReadStart(descriptor.number(), path, limit_bytes);
}

}  // namespace

Error SystemError(const std::filesystem::path& path, std::string_view action, int code) {
  const bool absent = code == ENOENT || code == ENOTDIR;
  return MakeError(absent ? ErrorCode::kNotFound : ErrorCode::kIo, "{}: cannot {}: {}",
                   path.string(), action, std::generic_category().message(code));
}

Result<std::string> ReadFile(const std::filesystem::path& path, std::size_t limit_bytes) {
  AWQ_ASSIGN(ContentStart start, ReadStartOf(path, limit_bytes));
  if (!start.whole) {
    return MakeError(ErrorCode::kCorrupt, "{}: larger than the {} bytes allowed here",
                     path.string(), limit_bytes);
  }
  if (!LooksLikeGzip(start.content)) return std::move(start.content);
  return InflateGzip(start.content, limit_bytes, path.string());
}

Result<ContentStart> ReadFileStart(const std::filesystem::path& path, std::size_t limit_bytes) {
  AWQ_ASSIGN(ContentStart start, ReadStartOf(path, limit_bytes));
  if (!LooksLikeGzip(start.content)) return start;
  return InflateGzipStart(start.content, start.whole, limit_bytes, path.string());
}

Result<std::shared_ptr<const MappedFile>> MappedFile::Open(const std::filesystem::path& path) {
  std::shared_ptr<MappedFile> file(new MappedFile());
  file->path_ = path;
  file->descriptor_ = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  AWQ_ASSIGN(const struct stat status, OpenStat(file->descriptor_, path));
  if (!S_ISREG(status.st_mode)) {
    return MakeError(ErrorCode::kCorrupt, "{}: not a regular file", path.string());
  }
  const auto size_bytes = static_cast<std::size_t>(status.st_size);
  if (size_bytes > 0) {  // mmap refuses an empty range
    void* start = mmap(nullptr, size_bytes, PROT_READ, MAP_PRIVATE, file->descriptor_, 0);
    if (start == MAP_FAILED) return SystemError(path, "map it into memory", errno);
    file->bytes_ = {static_cast<const std::byte*>(start), size_bytes};
  }
  return std::shared_ptr<const MappedFile>(std::move(file));
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
  if (descriptor_ >= 0) close(descriptor_);
}

std::size_t MappedFile::OffsetOf(std::span<const std::byte> range) const {
  AWQ_CHECK(range.data() >= bytes_.data());
  AWQ_CHECK(range.data() + range.size() <= bytes_.data() + bytes_.size());
  return static_cast<std::size_t>(range.data() - bytes_.data());
}

Status MappedFile::Read(std::span<const std::byte> range, std::byte* to) const {
  if (range.empty()) return {};
  const std::size_t offset = OffsetOf(range);
  for (std::size_t done = 0; done < range.size();) {
    const ssize_t count =
        pread(descriptor_, to + done, range.size() - done, static_cast<off_t>(offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return SystemError(path_, "read it", errno);
    if (count == 0) {
      return MakeError(ErrorCode::kCorrupt,
                       "{}: expected {} bytes, as there were when it was opened, found {}: it has "
                       "been changed; start again when that has ended",
                       path_.string(), bytes_.size(), offset + done);
    }
    done += static_cast<std::size_t>(count);
  }
  return {};
}

void MappedFile::Release(std::span<const std::byte> range) const {
  if (range.empty()) return;
  const std::size_t offset = OffsetOf(range);
  const auto page_bytes = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  // The mapping starts on a page. Its last page is ours to the end of the file.
  const std::size_t first = RoundUp(offset, page_bytes);
  const std::size_t end_offset = offset + range.size();
  const std::size_t end = end_offset == bytes_.size() ? RoundUp(end_offset, page_bytes)
                                                      : end_offset / page_bytes * page_bytes;
  if (first >= end) return;
  // Advice only: a refusal costs memory, not correctness.
  madvise(const_cast<std::byte*>(bytes_.data()) + first, end - first, MADV_DONTNEED);
}

Result<OutputFile> OutputFile::Create(const std::filesystem::path& path, bool keep_contents) {
  OutputFile file;
  file.path_ = path;
  const int truncate = keep_contents ? 0 : O_TRUNC;
  file.descriptor_ = open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | truncate, kFileMode);
  if (file.descriptor_ < 0) return SystemError(path, "create it", errno);
  return file;
}

Result<OutputFile> OutputFile::CreateAlone(const std::filesystem::path& path) {
  AWQ_ASSIGN(OutputFile file, Create(path, /*keep_contents=*/true));
  struct stat opened {};
  struct stat named {};
  // The other one may have renamed it, and closed it, in between.
  const bool alone = flock(file.descriptor_, LOCK_EX | LOCK_NB) == 0 &&
                     fstat(file.descriptor_, &opened) == 0 && stat(path.c_str(), &named) == 0 &&
                     opened.st_ino == named.st_ino && opened.st_dev == named.st_dev;
  if (!alone) {
    return MakeError(ErrorCode::kIo, "{}: another run is writing it; wait for that one to end",
                     path.string());
  }
  if (ftruncate(file.descriptor_, 0) != 0) return SystemError(path, "empty it", errno);
  return file;
}

Result<OutputFile> OutputFile::CreateTemporary(const std::filesystem::path& path) {
  static std::atomic<unsigned> next = 0;
  for (;;) {
    OutputFile file;
    file.path_ = path;
    file.path_ += fmt::format(".{}-{}.partial", getpid(), next++);
    file.descriptor_ = open(file.path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, kFileMode);
    if (file.descriptor_ >= 0) return file;
    // Of a process of the same number, that ended or runs on another machine.
    if (errno != EEXIST) return SystemError(file.path_, "create it", errno);
  }
}

OutputFile::OutputFile(OutputFile&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)) {}

OutputFile& OutputFile::operator=(OutputFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

OutputFile::~OutputFile() {
  if (descriptor_ >= 0) close(descriptor_);
}

Status OutputFile::Preallocate(std::size_t size_bytes) {
  AWQ_CHECK(descriptor_ >= 0);
  if (size_bytes == 0) return {};
  int failure = 0;
  do {
    failure = fallocate(descriptor_, 0, 0, static_cast<off_t>(size_bytes)) == 0 ? 0 : errno;
  } while (failure == EINTR);
  if (failure == 0) return {};
  const std::size_t free_bytes = FreeBytes(descriptor_);
  if (failure == ENOSPC) {
    return DiskFull(path_, size_bytes - std::min(size_bytes, free_bytes));
  }
  if (failure != EOPNOTSUPP && failure != ENOSYS) {
    return SystemError(path_, fmt::format("reserve {} bytes for it", size_bytes), failure);
  }
  // posix_fallocate would emulate by writing every block; a look at the free space is enough.
  struct stat status {};
  if (fstat(descriptor_, &status) != 0) return SystemError(path_, "inspect it", errno);
  const auto held_bytes = static_cast<std::size_t>(status.st_size);
  if (held_bytes >= size_bytes) return {};
  const std::size_t needed_bytes = size_bytes - held_bytes;
  if (needed_bytes > free_bytes) return DiskFull(path_, needed_bytes - free_bytes);
  if (ftruncate(descriptor_, static_cast<off_t>(size_bytes)) != 0) {
    return SystemError(path_, fmt::format("extend it to {} bytes", size_bytes), errno);
  }
  return {};
}

Status OutputFile::Write(std::size_t offset_bytes, std::span<const std::byte> bytes) {
  AWQ_CHECK(descriptor_ >= 0);
  while (!bytes.empty()) {
    const ssize_t written =
        pwrite(descriptor_, bytes.data(), std::min(bytes.size(), kMaxWriteBytes),
               static_cast<off_t>(offset_bytes));
    if (written < 0 && errno == EINTR) continue;
    if (written == 0 || (written < 0 && errno == ENOSPC)) return DiskFull(path_, bytes.size());
    if (written < 0) {
      return SystemError(
          path_, fmt::format("write {} bytes at offset {}", bytes.size(), offset_bytes), errno);
    }
    bytes = bytes.subspan(static_cast<std::size_t>(written));
    offset_bytes += static_cast<std::size_t>(written);
  }
  return {};
}

void OutputFile::StartSync(std::size_t offset_bytes, std::size_t size_bytes) const {
  AWQ_CHECK(descriptor_ >= 0);
  (void)sync_file_range(descriptor_, static_cast<off_t>(offset_bytes),
                        static_cast<off_t>(size_bytes), SYNC_FILE_RANGE_WRITE);
}

Status OutputFile::Sync() {
  AWQ_CHECK(descriptor_ >= 0);
  if (fdatasync(descriptor_) != 0) return SystemError(path_, "write it to the disk", errno);
  return {};
}

Status OutputFile::Close() {
  const int descriptor = std::exchange(descriptor_, -1);
  if (descriptor >= 0 && close(descriptor) != 0 && errno != EINTR) {
    return SystemError(path_, "finish writing it", errno);
  }
  return {};
}

Status SyncDirectory(const std::filesystem::path& directory) {
  const std::filesystem::path path = directory.empty() ? "." : directory;
  const Descriptor descriptor(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (descriptor.number() < 0) return SystemError(path, "open the directory", errno);
  // Some network file systems refuse fsync on directories; their renames are durable by themselves.
  if (fsync(descriptor.number()) != 0 && errno != EINVAL && errno != ENOTSUP) {
    return SystemError(path, "write the directory to the disk", errno);
  }
  return {};
}

Status WriteFileAtomically(const std::filesystem::path& path, std::string_view contents) {
  AWQ_ASSIGN(OutputFile file, OutputFile::CreateTemporary(path));
  const auto write = [&]() -> Status {
    AWQ_TRY(file.Write(0, std::as_bytes(std::span(contents))));
    AWQ_TRY(file.Sync());
    AWQ_TRY(file.Close());
    if (rename(file.path().c_str(), path.c_str()) != 0) {
      return SystemError(path, "replace it", errno);
    }
    return SyncDirectory(path.parent_path());
  };
  Status status = write();
  if (!status) unlink(file.path().c_str());
  return status;
}

}  // namespace awq::io
