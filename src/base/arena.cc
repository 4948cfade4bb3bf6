#include "base/arena.h"

#include <algorithm>
#include <new>

#include "base/checked.h"
#include "base/memory.h"

namespace awq {
namespace {

std::shared_ptr<std::byte> Allocate(std::size_t bytes) {
  auto* memory = static_cast<std::byte*>(AllocateAligned(bytes));
  if (memory == nullptr) throw std::bad_alloc();
  return {memory, [bytes](std::byte* start) { FreeAligned(start, bytes); }};
}

}  // namespace

std::shared_ptr<std::byte> Arena::Take(std::size_t bytes) {
  if (bytes > SIZE_MAX - kAlignmentBytes) throw std::bad_alloc();
  const std::size_t taken = RoundUp(bytes, kAlignmentBytes);
  if (kHeapIsWatched) {
    auto piece = Allocate(bytes);  // which sees what goes beyond a piece
    taken_bytes_ += taken;
    return piece;
  }
  if (taken > left_bytes_) {
    const std::size_t size = std::max(taken, slab_bytes_);
    slab_ = Allocate(size);
    next_ = slab_.get();
    left_bytes_ = size;
  }
  std::byte* const start = next_;
  next_ += taken;
  left_bytes_ -= taken;
  taken_bytes_ += taken;
  return {slab_, start};
}

}  // namespace awq
