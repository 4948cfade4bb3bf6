// Memory for things that stay, side by side.
#pragma once

#include <cstddef>
#include <memory>

namespace awq {

// Pieces of slabs that lie on huge pages. What is read piece after piece then goes through few
// translations of addresses, where pieces with pages of their own would each end in small ones.
// Thread contract: one caller at a time.
class Arena {
 public:
  // Slabs of so many bytes, of which untouched pages take no memory; a piece that none can hold
  // gets one of its own size.
  explicit Arena(std::size_t slab_bytes = std::size_t{64} << 20) : slab_bytes_(slab_bytes) {}

  // Aligned to kAlignmentBytes; not initialized. A slab returns to the system when the last of its
  // pieces, and the arena, have let go of it.
  std::shared_ptr<std::byte> Take(std::size_t bytes);

  // Of all pieces so far.
  std::size_t taken_bytes() const { return taken_bytes_; }

 private:
  std::size_t slab_bytes_;
  std::size_t taken_bytes_ = 0;
  std::shared_ptr<std::byte> slab_;
  std::byte* next_ = nullptr;
  std::size_t left_bytes_ = 0;
};

}  // namespace awq
