// The checks of cuda/ops.h on the emulator.
#pragma once

#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "cuda/attention_decode.cuh"
#include "cuda/attention_prefill.cuh"
#include "cuda/emulator.h"
#include "cuda/kv_rows.cuh"
#include "cuda/ops_gram.cuh"
#include "cuda/sample.cuh"
#include "cuda/statistics.cuh"
#include "cuda/test_ops.h"
#include "cuda/token_rows.cuh"

namespace awq::cuda {

// Memory of exactly the size that was asked for, so that sanitizers see what is beyond.
class EmulatedOps : public OpsBackend {
 public:
  explicit EmulatedOps(simt::Options options) : launcher_(options) {}

  using OpsBackend::Fetch;
  using OpsBackend::Place;
  void* Place(const void* from, std::size_t bytes) override {
    memory_.emplace_back(static_cast<unsigned char*>(::operator new(bytes, kAlignment)));
    if (from == nullptr) {
      std::memset(memory_.back().get(), 0xff, bytes);
    } else {
      std::memcpy(memory_.back().get(), from, bytes);
    }
    return memory_.back().get();
  }
  void Fetch(void* to, const void* from, std::size_t bytes) override {
    std::memcpy(to, from, bytes);
  }

  Fault Run(const EmbedTask& task) override { return LaunchEmbed(launcher_, task); }
  Fault Run(const NormTask& task) override { return LaunchAddNorm(launcher_, task); }
  Fault Run(const GateTask& task) override { return LaunchGate(launcher_, task); }
  Fault Run(const RopeTask& task) override { return LaunchRopeAndStore(launcher_, task); }
  Fault Run(const DecodeTask& task) override { return LaunchDecode(launcher_, task); }
  Fault Run(const PrefillTask& task) override { return LaunchPrefill(launcher_, task); }
  Fault Run(const GramTask& task) override { return LaunchGram(launcher_, task); }
  Fault Run(const SampleTask& task) override { return LaunchSample(launcher_, task); }
  Fault Run(const ColumnsTask& task) override { return LaunchAddColumns(launcher_, task); }
  Fault Run(const SketchTask& task) override { return LaunchAddSketch(launcher_, task); }
  Fault Run(const DifferenceTask& task) override { return LaunchSubtract(launcher_, task); }
  Fault Run(const WidenTask& task) override { return LaunchWiden(launcher_, task); }
  Fault Run(const MirrorTask& task) override { return LaunchMirror(launcher_, task); }

 private:
  static constexpr std::align_val_t kAlignment{16};
  struct Delete {
    void operator()(unsigned char* memory) const { ::operator delete(memory, kAlignment); }
  };
  simt::EmulatedLauncher launcher_;
  std::vector<std::unique_ptr<unsigned char, Delete>> memory_;
};

}  // namespace awq::cuda
