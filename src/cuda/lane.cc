#include "cuda/lane.h"

#include <algorithm>
#include <cstring>

namespace awq::cuda {

void Lane::Upload(const void* from, std::size_t bytes, void* to) {
  if (bytes < kPieceBytes) {
    Do([&] { return CopyToDevice(to, from, bytes, stream()); });
    return Wait();
  }
  for (std::size_t done = 0; done < bytes; done += kPieceBytes) {
    Staging& staging = staging_[done / kPieceBytes % staging_.size()];
    const bool is_new = staging.memory.bytes() == 0;
    if (is_new) Do([&] { return staging.memory.Allocate(kPieceBytes); });
    Do([&] { return is_new ? staging.read.Create() : staging.read.Synchronize(); });
    Do([&]() -> Fault {
      const std::size_t count = std::min(kPieceBytes, bytes - done);
      std::memcpy(staging.memory.data(), static_cast<const std::byte*>(from) + done, count);
      AWQ_CUDA_TRY(
          CopyToDevice(static_cast<std::byte*>(to) + done, staging.memory.data(), count, stream()));
      return staging.read.Record(stream());
    });
  }
}

}  // namespace awq::cuda
