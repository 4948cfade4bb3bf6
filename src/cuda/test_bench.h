// Times on a device, without Google Benchmark, for gpu_bench.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <random>
#include <vector>

#include "cuda/copy.h"
#include "cuda/device.h"
#include "cuda/numbers.h"

namespace awq::cuda {

inline constexpr int kRuns = 9;

struct Timing {
  double median_s = 0, spread = 0;  // (slowest - fastest) / median
};

// launch(i) for i = 0, 1, ...: `copies` of them are one measurement.
template <class Launch>
Fault Measure(int copies, Timing& times, Launch launch, int runs = kRuns) {
  Event begin, end;
  AWQ_CUDA_TRY(begin.Create());
  AWQ_CUDA_TRY(end.Create());
  std::vector<double> seconds;
  for (int run = -2; run < runs; ++run) {  // the first two warm up
    AWQ_CUDA_TRY(begin.Record(nullptr));
    for (int i = 0; i < copies; ++i) {
      AWQ_CUDA_TRY(launch(i));
    }
    AWQ_CUDA_TRY(end.Record(nullptr));
    AWQ_CUDA_TRY(end.Synchronize());
    double elapsed = 0;
    AWQ_CUDA_TRY(end.SecondsSince(begin, &elapsed));
    if (run >= 0) {
      seconds.push_back(elapsed / copies);
    }
  }
  std::sort(seconds.begin(), seconds.end());
  times.median_s = seconds[seconds.size() / 2];
  times.spread = (seconds.back() - seconds.front()) / times.median_s;
  return {};
}

template <class Bytes>
Fault Upload(DeviceMemory& memory, const Bytes& bytes) {
  const std::size_t size = bytes.size() * sizeof(bytes[0]);
  if (size == 0) {
    return {};
  }
  AWQ_CUDA_TRY(memory.Allocate(size));
  AWQ_CUDA_TRY(CopyToDevice(memory.data(), bytes.data(), size, nullptr));
  return Synchronize();
}

// Some bf16 numbers from -1 to 1, over and over: what is computed with decides the power that it
// takes, and so the clock.
inline Fault FillWithNumbers(const DeviceMemory& memory) {
  std::mt19937 random(1);
  std::vector<std::uint16_t> some(std::min(memory.bytes() / 2 + 1, std::size_t{1} << 22));
  for (std::uint16_t& each : some) {
    each = FromFloat<Bfloat16>(static_cast<float>(random() % 2001) * 1e-3f - 1.0f).bits;
  }
  for (std::size_t at = 0; at < memory.bytes(); at += 2 * some.size()) {
    AWQ_CUDA_TRY(CopyToDevice(memory.data<unsigned char>() + at, some.data(),
                              std::min(2 * some.size(), memory.bytes() - at), nullptr));
  }
  return Synchronize();
}

inline Fault MeasureCopy(const DeviceInfo& device, double& bytes_per_s) {
  const std::size_t bytes = std::size_t{1} << 30;
  DeviceMemory from, to;
  AWQ_CUDA_TRY(from.Allocate(bytes));
  AWQ_CUDA_TRY(to.Allocate(bytes));
  AWQ_CUDA_TRY(FillBytes(from.data(), 0x5a, bytes, nullptr));
  Timing times;
  AWQ_CUDA_TRY(
      Measure(4, times, [&](int) { return CopyOnDevice(to.data(), from.data(), bytes, nullptr); }));
  bytes_per_s = 2.0 * static_cast<double>(bytes) / times.median_s;
  std::printf("%s, compute capability %d.%d, %d multiprocessors; a copy moves %.0f GB/s\n\n",
              device.name.c_str(), device.major, device.minor, device.multiprocessors,
              bytes_per_s * 1e-9);
  return {};
}

}  // namespace awq::cuda
