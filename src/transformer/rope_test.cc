#include "transformer/rope.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "testing/random_model.h"

namespace awq::transformer {
namespace {

// The angle by which pair `pair` turns from one position to the next.
double Step(const model::ModelConfig& config, std::size_t pair) {
  const RopeTable table(config, 2);
  return std::atan2(static_cast<double>(table.sines(1)[pair]),
                    static_cast<double>(table.cosines(1)[pair]));
}

TEST(Rope, PositionZeroTurnsNothingAndAnglesAddUp) {
  const model::ModelConfig config = testing::SmallConfig();
  const RopeTable table(config, 300);
  ASSERT_EQ(table.positions(), 300U);
  for (std::size_t pair = 0; pair < config.head_dim / 2; ++pair) {
    EXPECT_EQ(table.cosines(0)[pair], 1.0F);
    EXPECT_EQ(table.sines(0)[pair], 0.0F);
    const double frequency = std::pow(10000.0, -2.0 * static_cast<double>(pair) / 8);
    EXPECT_NEAR(static_cast<double>(table.cosines(299)[pair]), std::cos(299 * frequency), 1e-7);
    EXPECT_NEAR(static_cast<double>(table.sines(299)[pair]), std::sin(299 * frequency), 1e-7);
  }
}

TEST(Rope, LinearScalingDividesEveryFrequency) {
  model::ModelConfig config = testing::SmallConfig();
  config.rope_scaling.kind = model::RopeScaling::Kind::kLinear;
  config.rope_scaling.factor = 4;
  for (std::size_t pair = 0; pair < 4; ++pair) {
    const double frequency = std::pow(10000.0, -2.0 * static_cast<double>(pair) / 8);
    EXPECT_NEAR(Step(config, pair), frequency / 4, 1e-7 * frequency);
  }
}

TEST(Rope, Llama3KeepsShortWavesStretchesLongOnesAndBlendsBetween) {
  model::ModelConfig config = testing::SmallConfig();
  config.head_dim = 64;
  config.rope_theta = 500000;
  config.rope_scaling = {model::RopeScaling::Kind::kLlama3, 8, 1, 4, 8192};
  int kept = 0;
  int stretched = 0;
  for (std::size_t pair = 0; pair < 32; ++pair) {
    const double frequency = std::pow(500000.0, -2.0 * static_cast<double>(pair) / 64);
    const double wavelength = 2 * std::numbers::pi / frequency;
    const double ratio = Step(config, pair) / frequency;
    if (wavelength < 8192.0 / 4) {
      EXPECT_NEAR(ratio, 1, 1e-6);
      ++kept;
    } else if (wavelength > 8192.0) {
      EXPECT_NEAR(ratio, 1.0 / 8, 1e-6);
      ++stretched;
    } else {
      EXPECT_GT(ratio, 1.0 / 8);
      EXPECT_LT(ratio, 1);
    }
  }
  EXPECT_GT(kept, 0);
  EXPECT_GT(stretched, 0);
  EXPECT_LT(kept + stretched, 32);
}

}  // namespace
}  // namespace awq::transformer
