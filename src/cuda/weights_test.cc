#include "cuda/weights.h"

#include <gtest/gtest.h>

#include <vector>

#include "cuda/test_linear.h"

namespace awq::cuda {
namespace {

TEST(Weights, UnpackingIsPackingUndone) {
  for (const WeightShape& shape :
       {WeightShape{64, 64, 4, 64}, WeightShape{8, 32, 4, 32}, WeightShape{136, 416, 4, 128},
        WeightShape{72, 160, 3, 32}, WeightShape{130, 96, 8, 96}, WeightShape{64, 192, 3, 192}}) {
    ASSERT_FALSE(CheckShape(shape));
    const TestWeights original(shape, 1);
    const WeightLayout layout = LayOut(shape);
    const PackedWeights packed = original.Pack();
    EXPECT_EQ(packed.codes.size(), layout.codes_bytes);
    TestWeights found(shape, 2);
    PackedWeights copy = packed;
    UnpackPanels(shape, 0, layout.panels, copy.arrays(),
                 {found.codes.data(), found.scales.data(), found.zeros.data()});
    EXPECT_EQ(found.codes, original.codes);
    EXPECT_EQ(found.scales, original.scales);
    EXPECT_EQ(found.zeros, original.zeros);
  }
}

TEST(Weights, PanelsArePackedApart) {
  const WeightShape shape{200, 96, 4, 32};
  const TestWeights original(shape, 3);
  const PackedWeights whole = original.Pack();
  PackedWeights apart(LayOut(shape));
  for (const int panel : {2, 0, 3, 1}) {
    const std::size_t row = static_cast<std::size_t>(panel) * kPanelRows;
    PackPanels(shape, panel, 1,
               {original.codes.data() + row * 96, original.scales.data() + row * 3,
                original.zeros.data() + row * 3},
               apart.arrays());
  }
  EXPECT_EQ(whole.codes, apart.codes);
  EXPECT_EQ(whole.scales, apart.scales);
  EXPECT_EQ(whole.zeros, apart.zeros);
}

// 4 bits and a half byte of scales and zeros for each 128 inputs: what the device reads.
TEST(Weights, TakeNoMoreThanTheirBits) {
  const WeightLayout layout = LayOut({4096, 4096, 4, 128});
  const double bits =
      8.0 * static_cast<double>(layout.codes_bytes + layout.scales_bytes + layout.zeros_bytes) /
      (4096.0 * 4096.0);
  EXPECT_EQ(bits, 4.1875);
}

TEST(Weights, RefuseWhatTheKernelsCannotTake) {
  for (const WeightShape& shape :
       {WeightShape{64, 64, 5, 64}, WeightShape{64, 48, 4, 48}, WeightShape{64, 96, 4, 48},
        WeightShape{0, 64, 4, 64}, WeightShape{64, 0, 4, 64}, WeightShape{64, 64, 4, 0},
        WeightShape{64, 64, 4, -1}, WeightShape{64, 1 << 21, 4, 64}}) {
    EXPECT_EQ(CheckShape(shape).kind, FaultKind::kUnsupported);
  }
}

}  // namespace
}  // namespace awq::cuda
