// Which device is taken, and what is said of it.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "api/device.h"
#include "cuda/emulated_device.h"

namespace awq::api {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;

class Said final : public ProgressSink {
 public:
  void Update(const ProgressEvent& event) override { lines += event.note; }
  std::string lines;
};

class GpuChoice : public testing::Test {
 protected:
  GpuChoice() {
    config_.hidden_size = 64;
    config_.intermediate_size = 128;
    config_.head_dim = 16;
  }
  void TearDown() override { cuda::SetEmulatedMachine({}); }

  // The GPU's number or "cpu", then what was told; or the error.
  std::string Choose(const std::string& device, GpuNeeds needs = {}) {
    Said said;
    Runtime runtime;
    runtime.device = device;
    runtime.progress = &said;
    needs.config = &config_;
    const auto gpu = ChooseGpu(runtime, needs);
    if (!gpu) return gpu.error().message;
    return (*gpu ? std::to_string(**gpu) : "cpu") + "|" + said.lines;
  }

  model::ModelConfig config_;
};

TEST_F(GpuChoice, TakesWhatIsAskedFor) {
  cuda::EmulatedMachine two;
  two.devices = 2;
  cuda::SetEmulatedMachine(two);
  EXPECT_EQ(Choose("cpu"), "cpu|");
  EXPECT_EQ(Choose("cuda"), "0|on GPU 0: emulated");
  EXPECT_EQ(Choose("cuda:1"), "1|on GPU 1: emulated");
  EXPECT_EQ(Choose("auto"), "0|on GPU 0: emulated");
  EXPECT_EQ(Choose("cuda:2"),
            "there is no GPU 2: this machine has 2, from 0 on; leave --device out for the CPU");
  for (const char* name :
       {"", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:1x", "cuda:99999999999"}) {
    EXPECT_NE(Choose(name).find("expected cpu, cuda, cuda:N or auto"), std::string::npos) << name;
  }
}

TEST_F(GpuChoice, AutoIsTheCpuWhereTheGpuCannot) {
  config_.head_dim = 12;
  EXPECT_EQ(Choose("auto"),
            "cpu|on the CPU: head_dim of 12: the GPU's kernels take multiples of 8");
  EXPECT_EQ(Choose("cuda"),
            "head_dim of 12: the GPU's kernels take multiples of 8; leave --device "
            "out for the CPU");
  config_.head_dim = 16;
  const GpuNeeds f32{.obstacle = "precision f32: no; leave --precision out"};
  EXPECT_EQ(Choose("auto", f32), "cpu|on the CPU: precision f32: no");
  EXPECT_EQ(Choose("cuda", f32),
            "precision f32: no; leave --precision out, or --device for the CPU");
  cuda::EmulatedMachine none;
  none.devices = 0;
  cuda::SetEmulatedMachine(none);
  EXPECT_EQ(Choose("auto").substr(0, 15), "cpu|on the CPU:");
}

TEST_F(GpuChoice, AsksForMemoryBeforeTheWork) {
  cuda::EmulatedMachine machine;
  machine.memory_bytes = cuda::CountEmulatedUse().bytes + 100 * kMiB;
  cuda::SetEmulatedMachine(machine);
  const auto needs = [](std::size_t mib, std::size_t least_mib) {
    return GpuNeeds{.bytes = mib * kMiB, .least_bytes = least_mib * kMiB};
  };
  // With a fifth to spare.
  EXPECT_EQ(Choose("auto", needs(80, 10)), "0|on GPU 0: emulated");
  EXPECT_EQ(Choose("auto", needs(81, 10)),
            "cpu|on the CPU: GPU memory: about 81 MiB are needed, 100 MiB of emulated are free");
  EXPECT_EQ(Choose("cuda", needs(200, 100)), "0|on GPU 0: emulated");
  EXPECT_NE(
      Choose("cuda", needs(200, 101)).find("200 MiB are needed, 100 MiB of emulated are free"),
      std::string::npos);
}

}  // namespace
}  // namespace awq::api
