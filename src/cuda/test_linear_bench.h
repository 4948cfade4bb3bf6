// Times of linears, for gpu_bench.
#pragma once

#include "cuda/linears.h"
#include "cuda/test_bench.h"
#include "cuda/test_linear.h"

namespace awq::cuda {

// Random bytes are codes, scales of 2^-6 or so, and zeros, of several linears one after another.
class RotatingWeights {
 public:
  Fault Create(const WeightShape& shape, std::size_t l2_bytes) {
    shape_ = shape;
    layout_ = LayOut(shape);
    const TestWeights some({kPanelRows, shape.inputs, shape.bits, shape.group_inputs}, 1);
    const PackedWeights panel = some.Pack();
    copies_ =
        static_cast<int>(std::max<std::size_t>(4 * l2_bytes, 256 << 20) / layout_.codes_bytes + 1);
    AWQ_CUDA_TRY(Fill(codes_, panel.codes));
    AWQ_CUDA_TRY(Fill(scales_, panel.scales));
    return Fill(zeros_, panel.zeros);
  }
  DeviceWeights At(int copy) const {
    const auto i = static_cast<std::size_t>(copy % copies_);
    return {shape_, codes_.data<unsigned char>() + i * layout_.codes_bytes,
            scales_.data<unsigned char>() + i * layout_.scales_bytes,
            zeros_.data<unsigned char>() + i * layout_.zeros_bytes};
  }
  int copies() const { return copies_; }
  double bytes() const {
    return static_cast<double>(layout_.codes_bytes + layout_.scales_bytes + layout_.zeros_bytes);
  }

 private:
  template <class Bytes>
  Fault Fill(DeviceMemory& memory, const Bytes& panel) const {
    const std::size_t bytes = panel.size() * sizeof(panel[0]);
    const auto panels = static_cast<std::size_t>(layout_.panels * copies_);
    AWQ_CUDA_TRY(memory.Allocate(bytes * panels));
    for (std::size_t i = 0; i < panels; ++i) {
      AWQ_CUDA_TRY(
          CopyToDevice(memory.data<unsigned char>() + i * bytes, panel.data(), bytes, nullptr));
    }
    return Synchronize();
  }

  WeightShape shape_;
  WeightLayout layout_;
  int copies_ = 0;
  DeviceMemory codes_, scales_, zeros_;
};

// Over weights of so many bytes, at least.
inline Fault MeasureDense(Linears& linears, const LinearCall& linear, Timing& times,
                          std::size_t rotated_bytes = std::size_t{512} << 20) {
  const auto outputs = static_cast<std::size_t>(linear.weights.shape.outputs);
  const auto inputs = static_cast<std::size_t>(linear.weights.shape.inputs);
  const std::size_t bytes = outputs * inputs * 2;
  const int copies = static_cast<int>(rotated_bytes / bytes + 1);
  DeviceMemory weights, scratch;
  AWQ_CUDA_TRY(weights.Allocate(bytes * static_cast<std::size_t>(copies)));
  AWQ_CUDA_TRY(scratch.Allocate(32 << 20));
  AWQ_CUDA_TRY(FillWithNumbers(weights));
  return Measure(copies, times, [&](int i) {
    DenseCall call;
    call.w = weights.data<unsigned char>() + static_cast<std::size_t>(i) * bytes;
    call.x = linear.x;
    call.y = linear.y;
    call.outputs = linear.weights.shape.outputs;
    call.inputs = linear.weights.shape.inputs;
    call.tokens = linear.tokens;
    call.y_stride = call.outputs;
    call.x_type = call.y_type = Float::kBfloat16;
    call.scratch = scratch.data();
    call.scratch_bytes = scratch.bytes();
    return linears.dense().Multiply(call, nullptr);
  });
}

inline Fault BenchShape(Linears& linears, const WeightShape& shape, double copy_bytes_per_s) {
  RotatingWeights weights;
  AWQ_CUDA_TRY(weights.Create(shape, linears.device().l2_bytes));
  for (const int tokens : {1, 4, 8, 16, 32, 64, 128, 256, 1024, 4096}) {
    const LinearProblem problem({{kPanelRows, shape.inputs, 4, 128}, tokens, Float::kBfloat16});
    DeviceMemory x, y;
    AWQ_CUDA_TRY(Upload(x, problem.x));
    AWQ_CUDA_TRY(
        y.Allocate(static_cast<std::size_t>(tokens) * static_cast<std::size_t>(shape.outputs) * 2));
    LinearCall call;
    call.weights.shape = shape;
    call.x_type = call.y_type = Float::kBfloat16;
    call.x = x.data();
    call.y = y.data();
    call.tokens = tokens;
    Timing ours, dense;
    AWQ_CUDA_TRY(Measure(weights.copies(), ours, [&](int i) {
      call.weights = weights.At(i);
      return linears.Multiply(call, nullptr);
    }));
    const bool has_dense = linears.dense().is_open() || !linears.dense().Open();
    if (has_dense) {
      AWQ_CUDA_TRY(MeasureDense(linears, call, dense));
    }
    const double bytes = weights.bytes() + 2.0 * tokens * (shape.inputs + shape.outputs);
    const double operations = 2.0 * tokens * shape.inputs * shape.outputs;
    std::printf("| %d x %d | %d | %.1f | %.0f %% | %.0f %% | %.0f | ", shape.outputs, shape.inputs,
                tokens, ours.median_s * 1e6, ours.spread * 100,
                100 * bytes / ours.median_s / copy_bytes_per_s, operations / ours.median_s * 1e-12);
    if (has_dense) {
      std::printf("%.1f | %.2f |\n", dense.median_s * 1e6, dense.median_s / ours.median_s);
    } else {
      std::printf("not measured | not measured |\n");
    }
  }
  return {};
}

// kTile beside kWgmma, by tiles of so many tokens: what linear_choice.inc should be made of.
inline Fault BenchWays(Linears& linears, const WeightShape& shape,
                       const std::vector<int>& batches) {
  if (!linears.HasWgmma()) {
    std::printf("\nlinear_wgmma: not measured, it is for sm_90a\n");
    return {};
  }
  std::printf("\n| %d x %d (%d bits, groups of %d) | tokens | us | spread | TFLOP/s |\n",
              shape.outputs, shape.inputs, shape.bits, shape.group_inputs);
  std::printf("|---|---|---|---|---|\n");
  RotatingWeights weights;
  AWQ_CUDA_TRY(weights.Create(shape, linears.device().l2_bytes));
  for (const int tokens : batches) {
    const auto bytes = [&](int side) {
      return static_cast<std::size_t>(tokens) * static_cast<std::size_t>(side) * 2;
    };
    DeviceMemory x, y;
    AWQ_CUDA_TRY(x.Allocate(bytes(shape.inputs)));
    AWQ_CUDA_TRY(y.Allocate(bytes(shape.outputs)));
    AWQ_CUDA_TRY(FillWithNumbers(x));
    LinearCall call;
    call.x_type = call.y_type = Float::kBfloat16;
    call.x = x.data();
    call.y = y.data();
    call.tokens = tokens;
    for (const LinearWay way : {LinearWay::kTile, LinearWay::kWgmma}) {
      const bool is_tile = way == LinearWay::kTile;
      for (int tile = 16; tile <= (is_tile ? 64 : 128) && tile < 2 * tokens; tile *= 2) {
        Timing times;
        AWQ_CUDA_TRY(Measure(weights.copies(), times, [&](int i) {
          call.weights = weights.At(i);
          return linears.MultiplyBy({way, tile}, call, nullptr);
        }));
        std::printf("| linear_%s, tiles of %d | %d | %.1f | %.0f %% | %.0f |\n",
                    is_tile ? "tile" : "wgmma", tile, tokens, times.median_s * 1e6,
                    times.spread * 100,
                    2.0 * tokens * shape.inputs * shape.outputs / times.median_s * 1e-12);
      }
    }
  }
  return {};
}

inline Fault BenchLinears(Linears& linears, double copy_bytes_per_s) {
  std::printf(
      "| outputs x inputs (4 bits, groups of 128) | tokens | us | spread | of the copy's bandwidth "
      "| "
      "TFLOP/s | cuBLASLt bf16, us | times as fast |\n|---|---|---|---|---|---|---|---|\n");
  for (const WeightShape& shape :
       {WeightShape{4096, 4096, 4, 128}, WeightShape{14336, 4096, 4, 128},
        WeightShape{8192, 28672, 4, 128}}) {
    AWQ_CUDA_TRY(BenchShape(linears, shape, copy_bytes_per_s));
  }
  return {};
}

}  // namespace awq::cuda
