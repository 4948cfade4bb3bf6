#include "cuda/dequantize_weights.cuh"

#include <gtest/gtest.h>

#include <vector>

#include "cuda/linear_choice.h"
#include "cuda/test_linear_emulated.h"

namespace awq::cuda {
namespace {

template <class T>
void ExpectRoundedOnce(const WeightShape& shape, int first_panel, int panels) {
  const TestWeights weights(shape, 5);
  const PackedWeights packed = weights.Pack();
  const int first_row = first_panel * kPanelRows;
  const int rows = std::min(panels * kPanelRows, shape.outputs - first_row);
  std::vector<T, PackedWeights::Aligned<T>> dense(static_cast<std::size_t>(rows) *
                                                  static_cast<std::size_t>(shape.inputs));
  const DeviceWeights device{shape, packed.codes.data(), packed.scales.data(), packed.zeros.data()};
  const Fault fault =
      LaunchDequantize<T>(simt::EmulatedLauncher(), device, first_panel, panels, dense.data());
  ASSERT_EQ(fault.message, "");
  for (int row = 0; row < rows; ++row) {
    for (int k = 0; k < shape.inputs; ++k) {
      // 11 bits of a scale times 9 of a code: exact in fp32.
      const auto exact = static_cast<float>(weights.Value(first_row + row, k));
      const T found = dense[static_cast<std::size_t>(row) * static_cast<std::size_t>(shape.inputs) +
                            static_cast<std::size_t>(k)];
      ASSERT_EQ(found.bits, FromFloat<T>(exact).bits) << row << " " << k;
    }
  }
}

TEST(DequantizeWeights, RoundsOnce) {
  for (const int bits : {3, 4, 8}) {
    ExpectRoundedOnce<Half>({136, 608, bits, 32}, 0, 3);
    ExpectRoundedOnce<Bfloat16>({136, 608, bits, 608}, 1, 2);
    ExpectRoundedOnce<Half>({200, 96, bits, 96}, 2, 1);
  }
}

TEST(DequantizeWeights, BiasIsAddedToItsRows) {
  std::vector<float> y(3 * 300, 1.0f), bias(300);
  for (std::size_t i = 0; i < bias.size(); ++i) {
    bias[i] = static_cast<float>(i);
  }
  LinearCall call;
  call.weights.shape = {300, 64, 4, 64};
  call.tokens = 3;
  call.y = y.data();
  call.bias = bias.data();
  ASSERT_EQ(LaunchAddBias<float>(simt::EmulatedLauncher(), call, 10, 280).message, "");
  for (std::size_t i = 0; i < y.size(); ++i) {
    const std::size_t row = i % 300;
    EXPECT_EQ(y[i], row >= 10 && row < 290 ? 1.0f + bias[row] : 1.0f);
  }
}

TEST(LinearChoice, EveryDeviceAndBatchHasAWay) {
  for (const int capability : {80, 86, 89, 90, 100, 120}) {
    for (int tokens = 1; tokens <= 8192; tokens += tokens < 64 ? 1 : 61) {
      const LinearChoice choice = ChooseLinear(capability, {4096, 4096, 4, 128}, tokens);
      EXPECT_TRUE(choice.way != LinearWay::kStream || tokens <= 8);
      EXPECT_TRUE(choice.way != LinearWay::kTile || choice.tile_tokens == 16 ||
                  choice.tile_tokens == 32 || choice.tile_tokens == 64);
      EXPECT_TRUE(choice.way != LinearWay::kWgmma || capability == 90);
    }
  }
  EXPECT_EQ(ChooseLinear(90, {4096, 4096, 4, 128}, 1).way, LinearWay::kStream);
  EXPECT_EQ(ChooseLinear(90, {4096, 4096, 4, 128}, 17).way, LinearWay::kWgmma);
  EXPECT_EQ(ChooseLinear(89, {4096, 4096, 4, 128}, 1024).way, LinearWay::kTile);
  EXPECT_EQ(ChooseLinear(120, {4096, 4096, 4, 128}, 1024).way, LinearWay::kDense);
}

}  // namespace
}  // namespace awq::cuda
