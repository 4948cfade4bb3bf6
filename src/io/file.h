// Files: read whole, mapped, written at offsets. Errors carry the path and the system's reason.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "io/gzip.h"

namespace awq::io {

// Whole file as bytes; gzip (".gz" or not, told by its first bytes) is inflated. Refuses more than
// `limit_bytes` of content.
Result<std::string> ReadFile(const std::filesystem::path& path,
                             std::size_t limit_bytes = std::size_t{4} << 30);

// The first `limit_bytes` of a file's content, inflated as above.
Result<ContentStart> ReadFileStart(const std::filesystem::path& path, std::size_t limit_bytes);

// A read-only private mapping. The file must not be truncated while it is mapped.
class MappedFile {
 public:
  static Result<std::shared_ptr<const MappedFile>> Open(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::span<const std::byte> bytes() const { return bytes_; }

  // Copies what the file has at `range`, a part of bytes(), as read() does: unlike the mapping's,
  // none of its pages become resident, nor are they mapped one by one, which takes as long as
  // copying. Error: the file ends before the range does. From any thread.
  Status Read(std::span<const std::byte> range, std::byte* to) const;

  // Tells the kernel that this range (rounded inwards to pages) is no longer needed, so that it
  // stops counting as resident; reading it again is valid and merely reads the file again.
  void Release(std::span<const std::byte> range) const;

 private:
  MappedFile() = default;
  std::size_t OffsetOf(std::span<const std::byte> range) const;
  std::filesystem::path path_;
  int descriptor_ = -1;
  std::span<const std::byte> bytes_;
};

// A file being written; `Write` at any offset, in any order. Close() reports what the system had
// kept back (a full disk); the destructor only closes.
class OutputFile {
 public:
  // Creates or truncates; with `keep_contents` an existing file is opened as it is.
  static Result<OutputFile> Create(const std::filesystem::path& path, bool keep_contents = false);
  // Created or emptied, and locked (flock) until it is closed. Error: another process has it.
  static Result<OutputFile> CreateAlone(const std::filesystem::path& path);
  // A new file beside `path`, whose name begins like it and ends in ".partial"; no other call, of
  // this process or another, is given the same.
  static Result<OutputFile> CreateTemporary(const std::filesystem::path& path);
  OutputFile(OutputFile&& other) noexcept;
  OutputFile& operator=(OutputFile&& other) noexcept;
  ~OutputFile();

  const std::filesystem::path& path() const { return path_; }

  // Reserves room for a file of this length, so that a full disk is found before hours of work;
  // the error says how much is missing. Contents up to there are kept, new ones are zero.
  Status Preallocate(std::size_t size_bytes);
  Status Write(std::size_t offset_bytes, std::span<const std::byte> bytes);
  // Asks the system to begin with these bytes' way to the disk, so that Sync() has less to wait
  // for. No promise: Sync() makes that.
  void StartSync(std::size_t offset_bytes, std::size_t size_bytes) const;
  Status Sync();
  Status Close();

 private:
  OutputFile() = default;
  std::filesystem::path path_;
  int descriptor_ = -1;
};

// Makes a rename or a new name in this directory durable.
Status SyncDirectory(const std::filesystem::path& directory);

// kNotFound where `code` (an errno) says that nothing is there, kIo otherwise:
// "<path>: cannot <action>: <the system's reason>".
Error SystemError(const std::filesystem::path& path, std::string_view action, int code);

// Writes a temporary file beside it, syncs and renames, so that `path` is either whole or
// untouched; of several writers the last one to end has it.
Status WriteFileAtomically(const std::filesystem::path& path, std::string_view contents);

}  // namespace awq::io
