#include "kernels/panels.h"

#include <algorithm>
#include <array>
#include <numeric>

#include "base/check.h"
#include "base/isa.h"

namespace awq::kernels {
namespace {

constexpr std::size_t kPanelsPerTask = 4;

std::size_t BlockInputs(std::size_t group_size) {
  for (std::size_t inputs = kMostBlockInputs; inputs > 8; inputs -= 8) {
    if (group_size % inputs == 0) return inputs;
  }
  return 8;
}

std::size_t GroupSize(const quant::QuantizedLinear& linear) {
  return linear.in_features() / std::max<std::size_t>(1, linear.groups());
}

const Int8Loops& Loops() {
  static const Int8Loops& loops = *Int8Rows().front().loops;
  return loops;
}

}  // namespace

std::vector<Int8Row> Int8Rows() {
  std::vector<Int8Row> rows;
  const Isa active = ActiveIsa();
#if defined(__x86_64__)
  if (active == Isa::kAvx512 && __builtin_cpu_supports("avx512vnni")) {
    rows.push_back({"avx512vnni", &avx512vnni::kInt8Loops});
  }
  if (active == Isa::kAvx512) rows.push_back({"avx512", &avx512::kInt8Loops});
  if (active != Isa::kBaseline) rows.push_back({"avx2", &avx2::kInt8Loops});
#endif
  static_cast<void>(active);
  rows.push_back({"baseline", &baseline::kInt8Loops});
  return rows;
}

void Int8Activations::Assign(ThreadPool& pool, MatrixView<const float> x,
                             std::size_t block_inputs) {
  AWQ_CHECK_EQ(x.cols % block_inputs, 0U);
  tokens_ = x.rows;
  in_features_ = x.cols;
  block_inputs_ = block_inputs;
  const std::size_t blocks = x.cols / block_inputs;
  if (codes_.size() < x.rows * x.cols) codes_ = Buffer<std::int8_t>(x.rows * x.cols);
  if (scales_.size() < x.rows * blocks) {
    scales_ = Buffer<float>(x.rows * blocks);
    sums_ = Buffer<std::int32_t>(x.rows * blocks);
  }
  const auto quantize = [&](std::size_t t, std::size_t) {
    Loops().quantize(x.row(t), blocks, block_inputs, codes_.data() + t * x.cols,
                     scales_.data() + t * blocks, sums_.data() + t * blocks);
  };
  if (tokens_ == 1) return quantize(0, 0);  // shorter than waking the others
  pool.ParallelFor(tokens_, quantize);
}

bool Panels::CanHold(const quant::QuantizedLinear& linear) {
  return linear.spec.bits <= kMostBits && !linear.spec.act_order && linear.groups() > 0 &&
         GroupSize(linear) % 8 == 0 && linear.spec.scale_dtype != DType::kF32;
}

Panels::Panels(ThreadPool& pool, const quant::QuantizedLinear& linear)
    : out_features_(linear.out_features()),
      in_features_(linear.in_features()),
      group_size_(GroupSize(linear)),
      block_inputs_(BlockInputs(group_size_)),
      scales_are_bf16_(linear.spec.scale_dtype == DType::kBF16) {
  AWQ_CHECK(CanHold(linear));
  const std::size_t rows = panels() * kPanelRows;
  codes_ = Buffer<std::uint8_t>(rows * in_features_ / 2);
  scales_ = Buffer<std::uint16_t>(rows * groups());
  zeros_ = Buffer<std::uint8_t>(rows * groups());
  pool.ParallelFor(panels(), [&](std::size_t panel, std::size_t) { FillPanel(linear, panel); });
}

std::size_t Panels::panels() const { return CeilDiv(out_features_, kPanelRows); }

std::size_t Panels::bytes() const {
  return codes_.size() + scales_.size() * sizeof(std::uint16_t) + zeros_.size();
}

void Panels::FillPanel(const quant::QuantizedLinear& linear, std::size_t panel) {
  std::uint8_t* codes = codes_.data() + panel * kPanelRows * in_features_ / 2;
  std::uint16_t* scales = scales_.data() + panel * kPanelRows * groups();
  std::uint8_t* zeros = zeros_.data() + panel * kPanelRows * groups();
  for (std::size_t r = 0; r < kPanelRows; ++r) {
    const std::size_t row = panel * kPanelRows + r;
    const bool is_there = row < out_features_;
    for (std::size_t i = 0; i < in_features_ / 8; ++i) {
      for (std::size_t b = 0; b < 4; ++b) {
        const unsigned low = is_there ? linear.codes(row, 8 * i + b) : 0U;
        const unsigned high = is_there ? linear.codes(row, 8 * i + 4 + b) : 0U;
        codes[i * 64 + r * 4 + b] = static_cast<std::uint8_t>(low | high << 4);
      }
    }
    for (std::size_t g = 0; g < groups(); ++g) {
      const float scale = is_there ? linear.scales(row, g) : 0;
      scales[g * kPanelRows + r] = scales_are_bf16_ ? ToBF16(scale).bits : ToF16(scale).bits;
      zeros[g * kPanelRows + r] = is_there ? linear.zeros(row, g) : 0;
    }
  }
}

void Panels::ApplyPanel(const Int8Loops& loops, std::size_t panel, const Int8Activations& x,
                        MatrixView<float> y) const {
  const std::size_t blocks = in_features_ / block_inputs_;
  const std::size_t first_row = panel * kPanelRows;
  const std::size_t rows = std::min(kPanelRows, out_features_ - first_row);
  std::array<float, kPanelRows * kMostTokens> rest;  // for a panel that is not full
  for (std::size_t t = 0; t < x.tokens_; t += kMostTokens) {
    Int8Panel args{};
    args.codes = codes_.data() + first_row * in_features_ / 2;
    args.scales = scales_.data() + first_row * groups();
    args.zeros = zeros_.data() + first_row * groups();
    args.scales_are_bf16 = scales_are_bf16_;
    args.blocks = blocks;
    args.block_inputs = block_inputs_;
    args.blocks_per_group = group_size_ / block_inputs_;
    args.x = x.codes_.data() + t * in_features_;
    args.in_features = in_features_;
    args.x_scales = x.scales_.data() + t * blocks;
    args.x_sums = x.sums_.data() + t * blocks;
    args.tokens = std::min(kMostTokens, x.tokens_ - t);
    const bool full = rows == kPanelRows;
    args.y = full ? y.row(t) + first_row : rest.data();
    args.y_stride = full ? y.stride : kPanelRows;
    loops.multiply(args);
    for (std::size_t i = 0; !full && i < args.tokens; ++i) {
      std::copy_n(rest.data() + i * kPanelRows, rows, y.row(t + i) + first_row);
    }
  }
}

void Panels::ApplyWith(const Int8Loops& loops, ThreadPool& pool, const Int8Activations& x,
                       MatrixView<float> y) const {
  AWQ_CHECK_EQ(x.in_features_, in_features_);
  AWQ_CHECK_EQ(x.block_inputs_, block_inputs_);
  AWQ_CHECK(y.rows == x.tokens_ && y.cols == out_features_);
  pool.ParallelFor(CeilDiv(panels(), kPanelsPerTask), [&](std::size_t task, std::size_t) {
    const std::size_t first = task * kPanelsPerTask;
    for (std::size_t p = first; p < std::min(first + kPanelsPerTask, panels()); ++p) {
      ApplyPanel(loops, p, x, y);
    }
  });
}

void Panels::Apply(ThreadPool& pool, const Int8Activations& x, MatrixView<float> y) const {
  ApplyWith(Loops(), pool, x, y);
}

}  // namespace awq::kernels
