// What runs on the device, where the CUDA toolkit was not there at build time.
#ifndef AWQ_CUDA_BUILT

#include "cuda/copy.h"
#include "cuda/dense_product.h"
#include "cuda/device.h"
#include "cuda/linear_kernels.h"
#include "cuda/not_built.h"

namespace awq::cuda {
Fault CountDevices(int* count) {
  *count = 0;
  return NotBuilt();
}

Fault DescribeDevice(int, DeviceInfo*) { return NotBuilt(); }
Fault UseDevice(int) { return NotBuilt(); }
Fault FreeMemory(std::size_t*, std::size_t*) { return NotBuilt(); }
Fault Synchronize() { return NotBuilt(); }
DeviceMemory::~DeviceMemory() = default;
Fault DeviceMemory::Allocate(std::size_t) { return NotBuilt(); }
PinnedMemory::~PinnedMemory() = default;
Fault PinnedMemory::Allocate(std::size_t) { return NotBuilt(); }
Fault CopyToDevice(void*, const void*, std::size_t, StreamHandle) { return NotBuilt(); }
Fault CopyToHost(void*, const void*, std::size_t, StreamHandle) { return NotBuilt(); }
Fault FillBytes(void*, unsigned char, std::size_t, StreamHandle) { return NotBuilt(); }
Stream::~Stream() = default;
Fault Stream::Create() { return NotBuilt(); }
Fault Stream::Synchronize() const { return NotBuilt(); }
Event::~Event() = default;
Fault Event::Create() { return NotBuilt(); }
Fault Event::Record(StreamHandle) const { return NotBuilt(); }
Fault Event::Synchronize() const { return NotBuilt(); }
Fault Event::SecondsSince(const Event&, double*) const { return NotBuilt(); }
Graph::~Graph() = default;
Fault Graph::Begin(StreamHandle) { return NotBuilt(); }
Fault Graph::End(StreamHandle) { return NotBuilt(); }
Fault Graph::Launch(StreamHandle) const { return NotBuilt(); }

Fault CopyOnDevice(void*, const void*, std::size_t, StreamHandle) { return NotBuilt(); }
Fault StreamLinear(const LinearCall&, const Workspace&, int, StreamHandle) { return NotBuilt(); }
Fault TileLinear(const LinearCall&, const Workspace&, int, int, StreamHandle) { return NotBuilt(); }
bool HasWgmmaLinear(int) { return false; }
Fault WgmmaLinear(const LinearCall&, const Workspace&, int, int, StreamHandle) {
  return NotBuilt();
}
Fault DequantizeWeights(const DeviceWeights&, Float, int, int, void*, StreamHandle) {
  return NotBuilt();
}
Fault AddBias(const LinearCall&, int, int, StreamHandle) { return NotBuilt(); }

struct DenseProducts::State {};
DenseProducts::DenseProducts() = default;
DenseProducts::DenseProducts(DenseProducts&&) noexcept = default;
DenseProducts& DenseProducts::operator=(DenseProducts&&) noexcept = default;
DenseProducts::~DenseProducts() = default;
Fault DenseProducts::Open() { return NotBuilt(); }
Fault DenseProducts::Multiply(const DenseCall&, StreamHandle) { return NotBuilt(); }

}  // namespace awq::cuda

#endif
