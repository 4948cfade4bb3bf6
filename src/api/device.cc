#include "api/device.h"

#include <charconv>

#include "api/runtime.h"
#include "base/error.h"
#include "transformer/gpu/block.h"
#include "transformer/gpu/context.h"

namespace awq {
namespace {

constexpr std::string_view kCuda = "cuda";
constexpr std::string_view kAuto = "auto";

// -1: none.
int GpuNumber(std::string_view name) {
  if (name == kCuda) return 0;
  if (!name.starts_with("cuda:")) return -1;
  int number = -1;
  const char* const end = name.data() + name.size();
  const auto read = std::from_chars(name.data() + kCuda.size() + 1, end, number);
  return read.ec == std::errc() && read.ptr == end ? number : -1;
}

std::string MiB(std::size_t bytes) { return fmt::format("{} MiB", bytes >> 20); }

// Error: why it cannot be that GPU. `bytes`: that must be free there.
Result<transformer::gpu::DeviceFacts> CheckGpu(int gpu, const api::GpuNeeds& needs,
                                               std::size_t bytes) {
  if (!needs.obstacle.empty()) {
    return MakeError(ErrorCode::kUnsupported, "{}, or --device for the CPU", needs.obstacle);
  }
  AWQ_TRY(transformer::gpu::CheckConfig(*needs.config));
  AWQ_ASSIGN(auto facts, transformer::gpu::DescribeDevice(gpu));
  if (facts.free_bytes < bytes) {
    return MakeError(ErrorCode::kOutOfMemory,
                     "GPU memory: about {} are needed, {} of {} are free; leave --device out for "
                     "the CPU, or take fewer or shorter calibration windows",
                     MiB(needs.bytes), MiB(facts.free_bytes), facts.name);
  }
  return facts;
}

}  // namespace

Status CheckDeviceName(const std::string& name) {
  if (name == "cpu" || name == kAuto || GpuNumber(name) >= 0) return {};
  return MakeError(ErrorCode::kInvalidArgument, "device {}: expected cpu, cuda, cuda:N or auto",
                   name);
}

namespace api {

Result<std::optional<int>> ChooseGpu(const Runtime& runtime, const GpuNeeds& needs) {
  AWQ_TRY(CheckDeviceName(runtime.device));
  if (runtime.device == "cpu") return std::optional<int>();
  const bool is_auto = runtime.device == kAuto;
  const int gpu = is_auto ? 0 : GpuNumber(runtime.device);
  const auto facts =
      CheckGpu(gpu, needs, is_auto ? needs.bytes + needs.bytes / 4 : needs.least_bytes);
  if (facts) {
    Note(runtime, fmt::format("on GPU {}: {}", gpu, facts->name));
    return std::optional<int>(gpu);
  }
  if (!is_auto) return facts.error();
  // Without what to do about it: this is what is done.
  const std::string& message = facts.error().message;
  const std::string why = needs.obstacle.empty()
                              ? message.substr(0, message.find("; leave --device out"))
                              : needs.obstacle.substr(0, needs.obstacle.find(';'));
  Note(runtime, fmt::format("on the CPU: {}", why));
  return std::optional<int>();
}

}  // namespace api
}  // namespace awq
