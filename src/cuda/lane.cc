#include "cuda/lane.h"

#include <algorithm>
#include <cstring>

namespace awq::cuda {

// Room in the staging buffer that is being filled; where it is full, in the other one, as soon as
// what was in there has left.
Lane::Staging& Lane::StagingWithRoom() {
  Staging* staging = &staging_[filling_];
  if (staging->used == kPieceBytes) {
    Do([&] { return staging->left.Record(stream()); });
    filling_ = (filling_ + 1) % staging_.size();
    staging = &staging_[filling_];
    staging->used = 0;
    if (staging->memory.bytes() > 0) Do([&] { return staging->left.Synchronize(); });
  }
  if (staging->memory.bytes() == 0) {
    Do([&]() -> Fault {
      AWQ_CUDA_TRY(staging->memory.Allocate(kPieceBytes));
      return staging->left.Create();
    });
  }
  return *staging;
}

void Lane::Upload(const void* from, std::size_t bytes, void* to) {
  for (std::size_t done = 0; done < bytes && !fault_;) {
    Staging& staging = StagingWithRoom();
    const std::size_t count = std::min(kPieceBytes - staging.used, bytes - done);
    Do([&] {
      std::byte* const piece = staging.memory.data<std::byte>() + staging.used;
      std::memcpy(piece, static_cast<const std::byte*>(from) + done, count);
      return CopyToDevice(static_cast<std::byte*>(to) + done, piece, count, stream());
    });
    staging.used += count;
    done += count;
  }
}

}  // namespace awq::cuda
