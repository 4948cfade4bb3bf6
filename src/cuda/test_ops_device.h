// The checks of cuda/ops.h on the current device.
#pragma once

#include <utility>
#include <vector>

#include "cuda/device.h"
#include "cuda/test_ops.h"

namespace awq::cuda {

class DeviceOps : public OpsBackend {
 public:
  using OpsBackend::Fetch;
  using OpsBackend::Place;
  void* Place(const void* from, std::size_t bytes) override {
    DeviceMemory memory;
    Note(memory.Allocate(bytes));
    Note(from == nullptr ? FillBytes(memory.data(), 0xff, bytes, nullptr)
                         : CopyToDevice(memory.data(), from, bytes, nullptr));
    Note(Synchronize());
    memory_.push_back(std::move(memory));
    return memory_.back().data();
  }
  void Fetch(void* to, const void* from, std::size_t bytes) override {
    Note(CopyToHost(to, from, bytes, nullptr));
    Note(Synchronize());
  }

  Fault Run(const EmbedTask& task) override { return After(Embed(task, nullptr)); }
  Fault Run(const NormTask& task) override { return After(AddNorm(task, nullptr)); }
  Fault Run(const GateTask& task) override { return After(Gate(task, nullptr)); }
  Fault Run(const RopeTask& task) override { return After(RopeAndStore(task, nullptr)); }
  Fault Run(const DecodeTask& task) override { return After(AttendDecode(task, nullptr)); }
  Fault Run(const PrefillTask& task) override { return After(AttendPrefill(task, nullptr)); }
  Fault Run(const GramTask& task) override { return After(AccumulateGram(task, nullptr)); }
  Fault Run(const SampleTask& task) override { return After(Sample(task, nullptr)); }
  Fault Run(const ColumnsTask& task) override { return After(AddColumns(task, nullptr)); }
  Fault Run(const SketchTask& task) override { return After(AddSketch(task, nullptr)); }
  Fault Run(const DifferenceTask& task) override { return After(Subtract(task, nullptr)); }
  Fault Run(const WidenTask& task) override { return After(Widen(task, nullptr)); }
  Fault Run(const MirrorTask& task) override { return After(Mirror(task, nullptr)); }

 private:
  void Note(Fault fault) {
    if (fault && !fault_) fault_ = std::move(fault);
  }
  // The first thing that went wrong up to a launch and in it.
  Fault After(Fault launched) {
    Note(std::move(launched));
    Note(Synchronize());
    return fault_;
  }

  Fault fault_;
  std::vector<DeviceMemory> memory_;
};

}  // namespace awq::cuda
