#include <cuda_runtime_api.h>

#include "cuda/device.h"
#include "cuda/graph_words.h"
#include "cuda/launch.cuh"

namespace awq::cuda {
namespace {

FaultKind KindOf(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return FaultKind::kNone;
    case cudaErrorNoDevice:
    case cudaErrorStubLibrary:
      return FaultKind::kNoDevice;
    case cudaErrorInsufficientDriver:
      return FaultKind::kDriverTooOld;
    case cudaErrorMemoryAllocation:
      return FaultKind::kOutOfMemory;
    case cudaErrorNoKernelImageForDevice:
      return FaultKind::kUnsupported;
    default:
      return FaultKind::kFailed;
  }
}

std::string Version(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

// The runtime says "insufficient" where there is no driver, too.
Fault DriverFault() {
  int driver = 0, runtime = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  if (driver == 0) {
    return MakeFault(FaultKind::kNoDevice, "no NVIDIA driver is installed");
  }
  return MakeFault(FaultKind::kDriverTooOld, "the NVIDIA driver is for CUDA " + Version(driver) +
                                                 ", but this program was built with CUDA " +
                                                 Version(runtime) + ": install a newer driver");
}

}  // namespace

Fault Check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) {
    return {};
  }
  cudaGetLastError();  // so that the next call does not say it again
  if (error == cudaErrorInsufficientDriver) {
    return DriverFault();
  }
  std::string message =
      std::string(what) + ": " + cudaGetErrorString(error) + " (" + cudaGetErrorName(error) + ")";
  if (error == cudaErrorNoKernelImageForDevice) {
    message += ": this program was built for other GPUs; AWQ_CUDA_ARCHITECTURES says for which";
  }
  return MakeFault(KindOf(error), std::move(message));
}

Fault CountDevices(int* count) {
  *count = 0;
  return Check(cudaGetDeviceCount(count), "looking for a GPU");
}

Fault DescribeDevice(int device, DeviceInfo* info) {
  cudaDeviceProp properties;
  AWQ_CUDA_TRY(Check(cudaGetDeviceProperties(&properties, device), "reading a GPU's properties"));
  info->name = properties.name;
  info->major = properties.major;
  info->minor = properties.minor;
  info->multiprocessors = properties.multiProcessorCount;
  info->l2_bytes = static_cast<std::size_t>(properties.l2CacheSize);
  info->memory_bytes = properties.totalGlobalMem;
  info->shared_bytes = properties.sharedMemPerBlockOptin;
  return {};
}

Fault UseDevice(int device) { return Check(cudaSetDevice(device), "choosing a GPU"); }

Fault FreeMemory(std::size_t* free_bytes, std::size_t* total_bytes) {
  return Check(cudaMemGetInfo(free_bytes, total_bytes), "asking for the GPU's free memory");
}

Fault Synchronize() { return Check(cudaDeviceSynchronize(), "running on the GPU"); }

DeviceMemory::~DeviceMemory() { cudaFree(data_); }

Fault DeviceMemory::Allocate(std::size_t bytes) {
  *this = DeviceMemory();
  Fault fault = Check(cudaMalloc(&data_, bytes), "allocating GPU memory");
  if (fault.kind == FaultKind::kOutOfMemory) {
    std::size_t free_bytes = 0, total_bytes = 0;
    cudaMemGetInfo(&free_bytes, &total_bytes);
    fault.message = OutOfMemory(bytes, free_bytes, total_bytes).message;
  }
  bytes_ = fault ? 0 : bytes;
  data_ = fault ? nullptr : data_;
  return fault;
}

PinnedMemory::~PinnedMemory() { cudaFreeHost(data_); }

Fault PinnedMemory::Allocate(std::size_t bytes) {
  *this = PinnedMemory();
  const Fault fault = Check(cudaMallocHost(&data_, bytes), "allocating pinned host memory");
  bytes_ = fault ? 0 : bytes;
  data_ = fault ? nullptr : data_;
  return fault;
}

Fault CopyToDevice(void* to, const void* from, std::size_t bytes, StreamHandle stream) {
  return Check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream),
               "copying to the GPU");
}

Fault CopyToHost(void* to, const void* from, std::size_t bytes, StreamHandle stream) {
  return Check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream),
               "copying from the GPU");
}

Fault FillBytes(void* to, unsigned char value, std::size_t bytes, StreamHandle stream) {
  return Check(cudaMemsetAsync(to, value, bytes, stream), "filling GPU memory");
}

Stream::~Stream() {
  if (handle_ != nullptr) {
    cudaStreamDestroy(handle_);
  }
}

Fault Stream::Create() {
  *this = Stream();
  return Check(cudaStreamCreateWithFlags(&handle_, cudaStreamNonBlocking), "making a stream");
}

Fault Stream::Synchronize() const {
  return Check(cudaStreamSynchronize(handle_), "running on the GPU");
}

Event::~Event() {
  if (handle_ != nullptr) {
    cudaEventDestroy(handle_);
  }
}

Fault Event::Create() {
  *this = Event();
  return Check(cudaEventCreate(&handle_), "making an event");
}

Fault Event::Record(StreamHandle stream) const {
  return Check(cudaEventRecord(handle_, stream), "recording an event");
}

Fault Event::Synchronize() const {
  return Check(cudaEventSynchronize(handle_), "waiting for an event");
}

Fault Event::SecondsSince(const Event& earlier, double* seconds) const {
  float milliseconds = 0;
  AWQ_CUDA_TRY(
      Check(cudaEventElapsedTime(&milliseconds, earlier.handle_, handle_), "reading events"));
  *seconds = static_cast<double>(milliseconds) * 1e-3;
  return {};
}

Graph::~Graph() { Drop(); }

void Graph::Drop() {
  if (recorded_ != nullptr) {
    cudaGraph_t graph = nullptr;
    cudaStreamEndCapture(recorded_, &graph);
    if (graph != nullptr) {
      cudaGraphDestroy(graph);
    }
    cudaGetLastError();  // of a recording that had failed
    recorded_ = nullptr;
  }
  if (handle_ != nullptr) {
    cudaGraphExecDestroy(handle_);
    handle_ = nullptr;
  }
}

Fault Graph::Begin(StreamHandle stream) {
  Drop();
  AWQ_CUDA_TRY(CheckBegin(stream));
  AWQ_CUDA_TRY(Check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal),
                     "beginning to record a graph"));
  recorded_ = stream;
  return {};
}

Fault Graph::End(StreamHandle stream) {
  AWQ_CUDA_TRY(CheckEnd(recorded_, stream));
  recorded_ = nullptr;
  cudaGraph_t graph = nullptr;
  AWQ_CUDA_TRY(Check(cudaStreamEndCapture(stream, &graph), "recording a graph"));
  cudaGraphExec_t made = nullptr;
  const Fault fault = Check(cudaGraphInstantiate(&made, graph, 0), "making a graph ready");
  cudaGraphDestroy(graph);
  handle_ = fault ? nullptr : made;
  return fault;
}

Fault Graph::Launch(StreamHandle stream) const {
  return is_ready() ? Check(cudaGraphLaunch(handle_, stream), "running a graph")
                    : NothingRecorded();
}

}  // namespace awq::cuda
