// One GPU's stream, and the first thing that went wrong there.
#pragma once

#include <array>
#include <cstddef>
#include <optional>

#include "cuda/device.h"
#include "cuda/fault.h"

namespace awq::cuda {

// Used by one thread at a time. After a fault nothing is launched any more.
class Lane {
 public:
  // Uploads go through two pinned buffers of so much.
  static constexpr std::size_t kPieceBytes = std::size_t{8} << 20;

  Lane() = default;
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  // Before anything else that is meant for this device.
  void Open(int device) {
    device_ = device;
    Do([&] { return stream_.Create(); });
  }
  int device() const { return device_.value_or(0); }
  StreamHandle stream() const { return stream_.handle(); }
  // Without waiting for what was launched.
  const Fault& fault() const { return fault_; }

  // launch() -> Fault, unless something has failed before. On this device, whichever the thread has
  // used meanwhile.
  template <class Launch>
  void Do(const Launch& launch) {
    if (!fault_ && device_) fault_ = UseDevice(*device_);
    if (!fault_) fault_ = launch();
  }
  // In the stream's order; `from` may go when this returns. Through pinned memory, so that nothing
  // waits but for room in there.
  void Upload(const void* from, std::size_t bytes, void* to);
  // Waits for what was launched.
  void Wait() {
    Do([&] { return stream_.Synchronize(); });
  }

 private:
  struct Staging {
    PinnedMemory memory;
    std::size_t used = 0;  // of it, by copies that were asked for
    Event left;            // after the last of them
  };
  Staging& StagingWithRoom();

  std::optional<int> device_;
  Stream stream_;
  Fault fault_;
  std::array<Staging, 2> staging_;
  std::size_t filling_ = 0;
};

}  // namespace awq::cuda
