#include "kernels/panels.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/check.h"

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

}  // namespace

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
      std::uint32_t halves[2] = {};  // four codes each: one a byte
      if (is_there) std::memcpy(halves, linear.codes.row(row) + 8 * i, sizeof(halves));
      const std::uint32_t word = halves[0] | halves[1] << 4;
      std::memcpy(codes + i * 4 * kPanelRows + r * 4, &word, sizeof(word));
    }
    for (std::size_t g = 0; g < groups(); ++g) {
      const float scale = is_there ? linear.scales(row, g) : 0;
      scales[g * kPanelRows + r] = scales_are_bf16_ ? ToBF16(scale).bits : ToF16(scale).bits;
      zeros[g * kPanelRows + r] = is_there ? linear.zeros(row, g) : 0;
    }
  }
}

PanelWeights Panels::WeightsOf(std::size_t panel) const {
  const std::size_t first_row = panel * kPanelRows;
  return {.codes = codes_.data() + first_row * in_features_ / 2,
          .scales = scales_.data() + first_row * groups(),
          .zeros = zeros_.data() + first_row * groups(),
          .scales_are_bf16 = scales_are_bf16_,
          .groups = groups(),
          .group_inputs = group_size_};
}

template <class Multiply>
void Panels::ForPanels(ThreadPool& pool, MatrixView<float> y, const Multiply& multiply) const {
  AWQ_CHECK_EQ(y.cols, out_features_);
  const auto apply = [&](std::size_t panel) {
    const PanelWeights weights = WeightsOf(panel);
    const std::size_t first_row = panel * kPanelRows;
    const std::size_t rows = std::min(kPanelRows, out_features_ - first_row);
    const bool full = rows == kPanelRows;
    std::array<float, kPanelRows * kMostTokens> rest;  // for a panel that is not full
    for (std::size_t t = 0; t < y.rows; t += kMostTokens) {
      const PanelOutputs outputs{.tokens = std::min(kMostTokens, y.rows - t),
                                 .y = full ? y.row(t) + first_row : rest.data(),
                                 .stride = full ? y.stride : kPanelRows};
      multiply(weights, t, outputs);
      for (std::size_t i = 0; !full && i < outputs.tokens; ++i) {
        std::copy_n(rest.data() + i * kPanelRows, rows, y.row(t + i) + first_row);
      }
    }
  };
  pool.ParallelFor(CeilDiv(panels(), kPanelsPerTask), [&](std::size_t task, std::size_t) {
    const std::size_t first = task * kPanelsPerTask;
    for (std::size_t p = first; p < std::min(first + kPanelsPerTask, panels()); ++p) apply(p);
  });
}

void Panels::Apply(ThreadPool& pool, const Int8Activations& x, MatrixView<float> y) const {
  AWQ_CHECK_EQ(x.in_features_, in_features_);
  AWQ_CHECK_EQ(x.block_inputs_, block_inputs_);
  AWQ_CHECK_EQ(x.tokens_, y.rows);
  const std::size_t blocks = in_features_ / block_inputs_;
  ForPanels(pool, y, [&](const PanelWeights& weights, std::size_t t, const PanelOutputs& outputs) {
    x.set_->int8->multiply({.weights = weights,
                            .block_inputs = block_inputs_,
                            .x = x.codes_.data() + t * in_features_,
                            .x_scales = x.scales_.data() + t * blocks,
                            .x_sums = x.sums_.data() + t * blocks,
                            .outputs = outputs});
  });
}

void Panels::Apply(ThreadPool& pool, const ExactActivations& x, MatrixView<float> y) const {
  AWQ_CHECK_EQ(x.in_features_, in_features_);
  AWQ_CHECK_EQ(x.group_inputs_, group_size_);
  AWQ_CHECK_EQ(x.tokens_, y.rows);
  const auto multiply = x.in_pairs_ ? x.set_->exact->multiply_bf16 : x.set_->exact->multiply_f32;
  ForPanels(pool, y, [&](const PanelWeights& weights, std::size_t t, const PanelOutputs& outputs) {
    const std::size_t first = t * in_features_;
    const void* from = x.in_pairs_ ? static_cast<const void*>(x.pairs_.data() + first)
                                   : static_cast<const void*>(x.floats_.data() + first);
    multiply({.weights = weights,
              .x = from,
              .x_sums = x.sums_.data() + t * groups(),
              .outputs = outputs});
  });
}

}  // namespace awq::kernels
