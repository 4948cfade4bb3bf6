#include "quant/quantized_linear.h"

#include "base/check.h"
#include "quant/group.h"

namespace awq::quant {
namespace {

void DequantizeInActOrder(const QuantizedLinear& linear, std::size_t row, float* out) {
  for (std::size_t k = 0; k < linear.in_features(); ++k) {
    const std::size_t group = linear.group_of[k];
    const int steps = linear.codes(row, k) - linear.zeros(row, group);
    out[k] = static_cast<float>(steps) * linear.scales(row, group);
  }
}

}  // namespace

void Dequantize(const QuantizedLinear& linear, std::size_t first_row, MatrixView<float> out) {
  AWQ_CHECK_EQ(out.cols, linear.in_features());
  AWQ_CHECK_LE(out.rows, linear.out_features());
  AWQ_CHECK_LE(first_row, linear.out_features() - out.rows);
  const GroupLoops& loops = LoopsFor(ActiveIsa());
  const std::size_t group_size = linear.spec.group_size;
  for (std::size_t r = 0; r < out.rows; ++r) {
    const std::size_t row = first_row + r;
    if (linear.spec.act_order) {
      DequantizeInActOrder(linear, row, out.row(r));
      continue;
    }
    for (std::size_t group = 0; group < linear.groups(); ++group) {
      loops.dequantize(linear.codes.row(row) + group * group_size, group_size,
                       linear.scales(row, group), static_cast<float>(linear.zeros(row, group)),
                       out.row(r) + group * group_size);
    }
  }
}

}  // namespace awq::quant
