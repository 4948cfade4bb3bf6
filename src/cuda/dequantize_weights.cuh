// Quantized weights to dense ones, each rounded once: for a library's products of many tokens.
#pragma once

#include "cuda/dequantize.cuh"
#include "cuda/linear_arguments.h"

namespace awq::cuda {
inline namespace AWQ_CUDA_SIDE {

inline constexpr int kDequantizeWarps = 8;

// dense[row - first_panel * 64][input]; a warp takes a unit, a lane 8 inputs of a row at a time.
template <class T, int kBits>
__global__ void __launch_bounds__(32 * kDequantizeWarps)
    DequantizeKernel(LinearArguments args, int first_panel, T* dense) {
  const int panel = first_panel + static_cast<int>(blockIdx.y);
  const int unit = static_cast<int>(blockIdx.x) * kDequantizeWarps + WarpInBlock();
  if (unit >= args.units) {
    return;
  }
  const int lane = LaneInWarp();
  UnitCodes<kBits> codes;
  const uint4* from = args.codes +
                      (static_cast<std::size_t>(panel) * static_cast<std::size_t>(args.units) +
                       static_cast<std::size_t>(unit)) *
                          (kBits * 32) +
                      lane;
  AWQ_UNROLL
  for (int v = 0; v < kBits; ++v) {
    const uint4 read = LoadOnce(from + 32 * v);
    codes.words[4 * v] = read.x;
    codes.words[4 * v + 1] = read.y;
    codes.words[4 * v + 2] = read.z;
    codes.words[4 * v + 3] = read.w;
  }
  AWQ_UNROLL
  for (int h = 0; h < 2; ++h) {
    const int input = unit * kUnitInputs + 32 * h + lane % 4 * 8;
    if (input >= args.inputs) {
      continue;
    }
    const int at = (panel * args.groups + args.GroupOf(2 * unit + h)) * 8 + lane / 4;
    const RowScales rows{__ldg(args.scales + at), __ldg(args.zeros + at)};
    AWQ_UNROLL
    for (int i = 0; i < 8; ++i) {
      const int b = i / 2, half = i % 2, row = b * 16 + half * 8 + lane / 4;
      const std::uint32_t minus_zero = MinusZeroOf<T, kBits>(rows, b, half);
      const float scale = ScaleOf(rows, b, half);
      std::uint32_t pairs[4];
      AWQ_UNROLL
      for (int p = 0; p < 4; ++p) {
        const std::uint32_t pair =
            Dequantize<T, kBits>(codes, b, 2 * h + p / 2, 2 * (p % 2) + half, minus_zero);
        const float low = ToFloat(T{static_cast<std::uint16_t>(pair & 0xffffu)});
        const float high = ToFloat(T{static_cast<std::uint16_t>(pair >> 16)});
        pairs[p] = PackPair<T>(scale * low, scale * high);
      }
      if (panel * kPanelRows + row < args.outputs) {
        T* to = dense +
                static_cast<std::size_t>((panel - first_panel) * kPanelRows + row) *
                    static_cast<std::size_t>(args.inputs) +
                input;
        *reinterpret_cast<uint4*>(to) = make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
      }
    }
  }
}

// y[token][row] += bias[row] for `rows` rows, in y's type.
template <class T>
__global__ void __launch_bounds__(256)
    AddBiasKernel(T* y, const float* bias, int y_stride, int first_row, int rows) {
  const int row = static_cast<int>(blockIdx.x) * 256 + ThreadInBlock();
  if (row < rows) {
    T* at = y + static_cast<std::size_t>(blockIdx.y) * static_cast<std::size_t>(y_stride) +
            first_row + row;
    *at = FromFloat<T>(ToFloat(*at) + bias[first_row + row]);
  }
}

template <class T, class Launcher>
Fault LaunchDequantize(const Launcher& launcher, const DeviceWeights& weights, int first_panel,
                       int panels, void* dense) {
  LinearCall call;
  call.weights = weights;
  const LinearArguments args = ArgumentsOf(call);
  LaunchShape shape;
  shape.blocks.x = static_cast<unsigned>((args.units + kDequantizeWarps - 1) / kDequantizeWarps);
  shape.blocks.y = static_cast<unsigned>(panels);
  shape.threads = 32 * kDequantizeWarps;
  switch (weights.shape.bits) {
    case 3:
      return launcher(DequantizeKernel<T, 3>, shape, args, first_panel, static_cast<T*>(dense));
    case 4:
      return launcher(DequantizeKernel<T, 4>, shape, args, first_panel, static_cast<T*>(dense));
    default:
      return launcher(DequantizeKernel<T, 8>, shape, args, first_panel, static_cast<T*>(dense));
  }
}

template <class T, class Launcher>
Fault LaunchAddBias(const Launcher& launcher, const LinearCall& call, int first_row, int rows) {
  LaunchShape shape;
  shape.blocks.x = static_cast<unsigned>((rows + 255) / 256);
  shape.blocks.y = static_cast<unsigned>(call.tokens);
  shape.threads = 256;
  return launcher(AddBiasKernel<T>, shape, static_cast<T*>(call.y), call.bias, call.OutputStride(),
                  first_row, rows);
}

}  // namespace AWQ_CUDA_SIDE
}  // namespace awq::cuda
