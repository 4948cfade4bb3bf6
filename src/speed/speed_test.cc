#include "speed/speed.h"

#include <gtest/gtest.h>

#include "testing/random_model.h"

namespace awq::speed {
namespace {

constexpr std::size_t kPositions = 32;

class SpeedOfSmallModel : public ::testing::Test {
 protected:
  // Of each block and of the head, from the shapes: the network must count the same.
  double BlockWeights() const {
    const model::ModelConfig& config = source_.config();
    const std::size_t one = config.hidden_size * (2 * config.q_width() + 2 * config.kv_width() +
                                                  3 * config.intermediate_size);
    return static_cast<double>(one * config.num_hidden_layers);
  }
  double HeadWeights() const {
    return static_cast<double>(source_.config().hidden_size * source_.config().vocab_size);
  }

  testing::RandomModel source_{testing::SmallConfig()};
  ThreadPool pool_{2};
  std::unique_ptr<transformer::Network> network_ =
      transformer::Network::Create(pool_, source_, {kernels::Precision::kF32, kPositions, SIZE_MAX})
          .value();
  SpeedTest test_{*network_, 1};
};

TEST_F(SpeedOfSmallModel, APromptTakesAllWeightsOnceForEachToken) {
  const auto speed = test_.Prefill(7);
  ASSERT_TRUE(speed);
  const double per_second = speed->tokens_per_second.median / 7;
  EXPECT_GT(per_second, 0);
  EXPECT_DOUBLE_EQ(speed->bytes_per_second, 4 * (BlockWeights() + HeadWeights()) * per_second);
  EXPECT_DOUBLE_EQ(speed->operations_per_second,
                   2 * (7 * BlockWeights() + HeadWeights()) * per_second);
  EXPECT_GT(speed->share_of_reading, 0);
  EXPECT_GT(speed->share_of_product, 0);
  EXPECT_GT(test_.reading().least, 0);
}

TEST_F(SpeedOfSmallModel, AStepReadsAllWeightsOnceAndWhatEachSequenceHolds) {
  const std::size_t batch = 3;
  const auto speed = test_.Decode(5, 4, batch);
  ASSERT_TRUE(speed);
  const double per_second = speed->tokens_per_second.median / static_cast<double>(4 * batch);
  const model::ModelConfig& config = source_.config();
  // Steps at positions 5 to 8 see 6 to 9 keys and as many values.
  const auto cached = static_cast<double>(2 * config.num_hidden_layers * config.kv_width() * batch *
                                          (6 + 7 + 8 + 9));
  EXPECT_NEAR(speed->bytes_per_second / per_second,
              4 * (4 * (BlockWeights() + HeadWeights()) + cached), 1e-3);
  EXPECT_NEAR(speed->operations_per_second / per_second,
              2 * 4 * static_cast<double>(batch) * (BlockWeights() + HeadWeights()), 1e-3);
  EXPECT_EQ(speed->share_of_product, 0);
}

TEST_F(SpeedOfSmallModel, CachedBytesAreThoseOfTheTypeThatHoldsThem) {
  const model::ModelConfig& config = source_.config();
  const std::size_t row_bytes = config.head_dim + sizeof(float);  // codes and a scale
  const auto network = transformer::Network::Create(
      pool_, source_, {.positions = kPositions, .kv = transformer::KvType::kInt8});
  ASSERT_TRUE(network);
  const auto speed = SpeedTest(**network, 1).Decode(5, 1, 2);
  ASSERT_TRUE(speed);
  const auto cached = static_cast<double>(2 * config.num_hidden_layers *
                                          config.num_key_value_heads * row_bytes * 2 * 6);
  EXPECT_NEAR(speed->bytes_per_second / (speed->tokens_per_second.median / 2),
              4 * (BlockWeights() + HeadWeights()) + cached, 1e-3);
}

TEST(Summarize, MediansOfRatesAndOfSharesOfWhatWasAround) {
  const Repeat slow{.tokens = 10,
                    .bytes = 100,
                    .operations = 60,
                    .seconds = 2,
                    .reads_before = 80,
                    .reads_after = 120,
                    .products_before = 50,
                    .products_after = 70};
  Repeat fast = slow;
  fast.seconds = 1;
  Repeat fastest = slow;
  fastest.seconds = 0.5;
  fastest.reads_after = 320;
  const Speed speed = Summarize({fastest, slow, fast});
  EXPECT_DOUBLE_EQ(speed.tokens_per_second.median, 10);
  EXPECT_DOUBLE_EQ(speed.tokens_per_second.least, 5);
  EXPECT_DOUBLE_EQ(speed.tokens_per_second.most, 20);
  EXPECT_DOUBLE_EQ(speed.bytes_per_second, 100);
  EXPECT_DOUBLE_EQ(speed.operations_per_second, 60);
  EXPECT_DOUBLE_EQ(speed.share_of_reading, 1);  // of .5, 1 and 1
  EXPECT_DOUBLE_EQ(speed.share_of_product, 1);  // of .5, 1 and 2
  EXPECT_DOUBLE_EQ(Summarize({slow, fast}).tokens_per_second.median, 7.5);
  Repeat without = slow;
  without.products_before = without.products_after = 0;
  EXPECT_EQ(Summarize({without}).share_of_product, 0);
}

TEST_F(SpeedOfSmallModel, TextsBeyondTheContextAreRefused) {
  EXPECT_TRUE(test_.Decode(kPositions - 4, 4, 1));
  EXPECT_FALSE(test_.Decode(kPositions - 3, 4, 1));
  EXPECT_FALSE(test_.Prefill(kPositions + 1));
  EXPECT_FALSE(test_.Prefill(0));
}

}  // namespace
}  // namespace awq::speed
