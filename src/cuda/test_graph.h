// A check of graphs on the current device. Plain C++, so that it also runs where there is no
// GoogleTest.
#pragma once

#include <cstring>
#include <string>

#include "cuda/copy.h"
#include "cuda/device.h"

namespace awq::cuda {

class GraphCheck {
 public:
  // Checkers of a device's calls take what the device refuses for a mistake.
  explicit GraphCheck(bool with_refusals) : with_refusals_(with_refusals) {}

  // "", or what is wrong.
  std::string Run() {
    const Fault fault = TryAll();
    return fault ? fault.message : wrong_;
  }

 private:
  static constexpr std::size_t kBytes = 64;

  Fault TryAll() {
    AWQ_CUDA_TRY(stream_.Create());
    AWQ_CUDA_TRY(a_.Allocate(kBytes));
    AWQ_CUDA_TRY(b_.Allocate(kBytes));
    AWQ_CUDA_TRY(pinned_.Allocate(kBytes));
    AWQ_CUDA_TRY(FillBytes(a_.data(), 1, kBytes, stream_.handle()));
    AWQ_CUDA_TRY(CopyOnDevice(b_.data(), a_.data(), kBytes, stream_.handle()));
    AWQ_CUDA_TRY(FillBytes(b_.data(), 2, kBytes, stream_.handle()));
    AWQ_CUDA_TRY(Record());
    AWQ_CUDA_TRY(Expect(2, "recording ran what was recorded"));
    AWQ_CUDA_TRY(graph_.Launch(stream_.handle()));
    AWQ_CUDA_TRY(Expect(1, "the graph did not copy what was there"));
    std::memset(pinned_.data(), 4, kBytes);
    AWQ_CUDA_TRY(graph_.Launch(stream_.handle()));
    AWQ_CUDA_TRY(graph_.Launch(stream_.handle()));
    AWQ_CUDA_TRY(Expect(4, "the graph did not read pinned memory when it ran"));
    if (with_refusals_) {
      AWQ_CUDA_TRY(TryWhatIsRefused());
    }
    AWQ_CUDA_TRY(Record());  // anew, after a recording that failed
    AWQ_CUDA_TRY(FillBytes(a_.data(), 6, kBytes, stream_.handle()));
    AWQ_CUDA_TRY(graph_.Launch(stream_.handle()));
    return Expect(6, "a second recording did not run");
  }

  Fault Record() {
    std::memset(pinned_.data(), 3, kBytes);
    AWQ_CUDA_TRY(graph_.Begin(stream_.handle()));
    AWQ_CUDA_TRY(CopyOnDevice(b_.data(), a_.data(), kBytes, stream_.handle()));
    AWQ_CUDA_TRY(CopyToDevice(a_.data(), pinned_.data(), kBytes, stream_.handle()));
    return graph_.End(stream_.handle());
  }

  Fault TryWhatIsRefused() {
    AWQ_CUDA_TRY(graph_.Begin(stream_.handle()));
    Note(!stream_.Synchronize(), "a recorded stream can be waited for");
    Note(!graph_.End(stream_.handle()) || graph_.is_ready(), "a ruined recording was taken");
    Note(!graph_.Launch(stream_.handle()), "a graph of nothing can be run");
    return stream_.Synchronize();
  }

  // Of b's first byte.
  Fault Expect(int byte, const char* else_wrong) {
    unsigned char found = 0;
    AWQ_CUDA_TRY(CopyToHost(&found, b_.data(), 1, stream_.handle()));
    AWQ_CUDA_TRY(stream_.Synchronize());
    Note(found != byte, else_wrong);
    return {};
  }

  void Note(bool is_wrong, const char* what) {
    if (is_wrong && wrong_.empty()) {
      wrong_ = what;
    }
  }

  bool with_refusals_;
  Stream stream_;
  DeviceMemory a_, b_;
  PinnedMemory pinned_;
  Graph graph_;
  std::string wrong_;
};

inline std::string CheckGraph(bool with_refusals) { return GraphCheck(with_refusals).Run(); }

}  // namespace awq::cuda
