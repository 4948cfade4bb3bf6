#include "io/scratch_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <string>
#include <system_error>
#include <utility>

#include "base/check.h"
#include "base/checked.h"
#include "base/error.h"
#include "io/file.h"

namespace awq::io {
namespace {

// Reading a page maps some around it as well, though never beyond what one page table spans.
constexpr std::size_t kPageTableBytes = std::size_t{2} << 20;

Error NoRoom(const std::filesystem::path& directory, std::size_t size_bytes, int code) {
  return MakeError(ErrorCode::kIo,
                   "{}: cannot reserve {} bytes there: {}; free them, or set TMPDIR to a directory "
                   "that has them",
                   directory.string(), size_bytes, std::generic_category().message(code));
}

// posix_fallocate writes to every block where the file system cannot reserve: a mapped file that
// the disk has no room for would end the program when it is written.
int Reserve(int descriptor, std::size_t size_bytes) {
  int failure = 0;
  do {
    failure = posix_fallocate(descriptor, 0, static_cast<off_t>(size_bytes));
  } while (failure == EINTR);
  return failure;
}

}  // namespace

std::filesystem::path ScratchDirectory() {
  const char* chosen = std::getenv("TMPDIR");
  return chosen != nullptr && *chosen != '\0' ? chosen : "/var/tmp";
}

Result<ScratchFile> ScratchFile::Create(std::size_t size_bytes,
                                        const std::filesystem::path& directory) {
  ScratchFile file;
  if (size_bytes == 0) return file;  // mmap refuses an empty range
  std::string name = (directory / "awq-XXXXXX").string();
  const int descriptor = mkostemp(name.data(), O_CLOEXEC);
  if (descriptor < 0) {
    return SystemError(directory,
                       "make a file for intermediate results in it (TMPDIR names another)", errno);
  }
  unlink(name.c_str());
  int failure = Reserve(descriptor, size_bytes);
  if (failure == 0) {
    void* start = mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (start == MAP_FAILED) {
      failure = errno;
    } else {
      file.bytes_ = {static_cast<std::byte*>(start), size_bytes};
    }
  }
  close(descriptor);
  if (failure != 0) return NoRoom(directory, size_bytes, failure);
  return file;
}

ScratchFile::ScratchFile(ScratchFile&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}

ScratchFile& ScratchFile::operator=(ScratchFile&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  return *this;
}

ScratchFile::~ScratchFile() {
  if (!bytes_.empty()) munmap(bytes_.data(), bytes_.size());
}

void ScratchFile::Release(std::size_t offset_bytes, std::size_t count_bytes) const {
  AWQ_CHECK(offset_bytes <= bytes_.size() && count_bytes <= bytes_.size() - offset_bytes);
  const std::size_t first = offset_bytes / kPageTableBytes * kPageTableBytes;
  const std::size_t end =
      std::min(RoundUp(offset_bytes + count_bytes, kPageTableBytes), bytes_.size());
  // A shared mapping's pages are in the file already. Advice only: a refusal costs memory.
  if (first < end) madvise(bytes_.data() + first, end - first, MADV_DONTNEED);
}

}  // namespace awq::io
