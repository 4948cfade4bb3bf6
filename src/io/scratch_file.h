// Room on a disk for what is too large to be held and is read and written in passes.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <filesystem>
#include <span>

namespace awq::io {

// $TMPDIR, or /var/tmp, which unlike /tmp is nowhere held in memory.
std::filesystem::path ScratchDirectory();

// Bytes, zero at first, in a file without a name that vanishes with this object, however the
// program ends.
class ScratchFile {
 public:
  // All room is reserved at once: a full disk is found here. kIo, or kNotFound without a directory.
  static Result<ScratchFile> Create(std::size_t size_bytes,
                                    const std::filesystem::path& directory = ScratchDirectory());
  ScratchFile() = default;
  ScratchFile(ScratchFile&& other) noexcept;
  ScratchFile& operator=(ScratchFile&& other) noexcept;
  ~ScratchFile();

  std::span<std::byte> bytes() const { return bytes_; }

  // The pages of this range, and some around it, no longer count as resident; their contents stay.
  void Release(std::size_t offset_bytes, std::size_t count_bytes) const;

 private:
  std::span<std::byte> bytes_;
};

}  // namespace awq::io
