#include "cuda/linears.h"

#include <algorithm>
#include <string>

#include "cuda/linear_kernels.h"

namespace awq::cuda {
namespace {

constexpr int kStreamMostTokens = 8;
constexpr int kMostTokens = 65535;  // blocks of a grid's second dimension
constexpr std::size_t kDenseWeightsBytes = 64 << 20;
constexpr std::size_t kDenseScratchBytes = 32 << 20;

// Of dense weights.
std::size_t PanelBytes(int inputs) {
  return std::size_t{kPanelRows} * 2 * static_cast<std::size_t>(inputs);
}

Fault CheckCall(const LinearCall& call) {
  AWQ_CUDA_TRY(CheckShape(call.weights.shape));
  if (call.tokens < 1 || call.tokens > kMostTokens) {
    return MakeFault(FaultKind::kUnsupported,
                     "a linear on the GPU: 1 to 65535 tokens, not " + std::to_string(call.tokens));
  }
  if (call.x_type == Float::kSingle ||
      (call.y_type != call.x_type && call.y_type != Float::kSingle)) {
    return MakeFault(FaultKind::kUnsupported,
                     "a linear on the GPU: inputs are f16 or bf16, outputs are that or f32");
  }
  return {};
}

}  // namespace

Fault CheckCapability(const DeviceInfo& device) {
  if (device.major >= 8) return {};
  return MakeFault(FaultKind::kUnsupported,
                   device.name + " has compute capability " + std::to_string(device.major) + "." +
                       std::to_string(device.minor) + ": 8.0 or newer is needed");
}

Fault Linears::Create(int device) {
  AWQ_CUDA_TRY(UseDevice(device));
  AWQ_CUDA_TRY(DescribeDevice(device, &device_));
  AWQ_CUDA_TRY(CheckCapability(device_));
  const auto multiprocessors = static_cast<std::size_t>(device_.multiprocessors);
  AWQ_CUDA_TRY(sums_.Allocate(kSumsBytesEach * multiprocessors));
  AWQ_CUDA_TRY(arrivals_.Allocate(kMostArrivals * sizeof(int)));
  AWQ_CUDA_TRY(FillBytes(arrivals_.data(), 0, arrivals_.bytes(), nullptr));
  return Synchronize();  // other streams do not wait for the default one
}

bool Linears::HasDense() {
  if (!was_dense_sought_ && !dense_.is_open()) {
    was_dense_sought_ = true;
    return !dense_.Open();
  }
  return dense_.is_open();
}

Fault Linears::Reserve(int most_inputs) {
  if (!HasDense()) {
    return {};
  }
  const std::size_t bytes = std::max(PanelBytes(most_inputs), kDenseWeightsBytes);
  if (dense_weights_.bytes() < bytes) {
    AWQ_CUDA_TRY(dense_weights_.Allocate(bytes));
  }
  return dense_scratch_.bytes() > 0 ? Fault() : dense_scratch_.Allocate(kDenseScratchBytes);
}

bool Linears::HasWgmma() const { return HasWgmmaLinear(10 * device_.major + device_.minor); }

Fault Linears::Multiply(const LinearCall& call, StreamHandle stream) {
  const int capability = 10 * device_.major + device_.minor;
  return MultiplyBy(ChooseLinear(capability, call.weights.shape, call.tokens), call, stream);
}

Fault Linears::MultiplyBy(const LinearChoice& choice, const LinearCall& call, StreamHandle stream) {
  AWQ_CUDA_TRY(CheckCall(call));
  const Workspace work{sums_.data<float>(), arrivals_.data<int>()};
  if (choice.way == LinearWay::kStream && call.tokens <= kStreamMostTokens) {
    return StreamLinear(call, work, device_.multiprocessors, stream);
  }
  if (choice.way == LinearWay::kDense && HasDense()) {
    return MultiplyDense(call, stream);
  }
  if ((choice.way == LinearWay::kWgmma || choice.way == LinearWay::kDense) && HasWgmma()) {
    return WgmmaLinear(call, work, choice.tile_tokens, device_.multiprocessors, stream);
  }
  return TileLinear(call, work, choice.tile_tokens, device_.multiprocessors, stream);
}

// Stripes of rows that are dequantized one after another, so that scratch memory stays small.
Fault Linears::MultiplyDense(const LinearCall& call, StreamHandle stream) {
  const WeightShape& shape = call.weights.shape;
  const WeightLayout layout = LayOut(shape);
  const std::size_t panel_bytes = PanelBytes(shape.inputs);
  AWQ_CUDA_TRY(Reserve(shape.inputs));
  const int stripe = static_cast<int>(std::min<std::size_t>(
      dense_weights_.bytes() / panel_bytes, static_cast<std::size_t>(layout.panels)));
  const std::size_t y_bytes = call.y_type == Float::kSingle ? 4 : 2;
  for (int panel = 0; panel < layout.panels; panel += stripe) {
    const int panels = std::min(stripe, layout.panels - panel), row = panel * kPanelRows;
    DenseCall product;
    product.w = dense_weights_.data();
    product.x = call.x;
    product.y = static_cast<unsigned char*>(call.y) + y_bytes * static_cast<std::size_t>(row);
    product.outputs = std::min(panels * kPanelRows, shape.outputs - row);
    product.inputs = shape.inputs;
    product.tokens = call.tokens;
    product.y_stride = call.OutputStride();
    product.x_type = call.x_type;
    product.y_type = call.y_type;
    product.scratch = dense_scratch_.data();
    product.scratch_bytes = dense_scratch_.bytes();
    AWQ_CUDA_TRY(
        DequantizeWeights(call.weights, call.x_type, panel, panels, dense_weights_.data(), stream));
    AWQ_CUDA_TRY(dense_.Multiply(product, stream));
    if (call.bias != nullptr) {
      AWQ_CUDA_TRY(AddBias(call, row, product.outputs, stream));
    }
  }
  return {};
}

}  // namespace awq::cuda
