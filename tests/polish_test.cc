#include "pipeline/polish.h"

#include <gtest/gtest.h>

#include <random>

#include "pipeline/hidden_store.h"
#include "pipeline/published.h"
#include "testing/random_model.h"
#include "transformer/kv_cache.h"

namespace awq::pipeline {
namespace {

using model::Role;

constexpr std::size_t kSequences = 24;
constexpr std::size_t kLength = 16;
constexpr std::size_t kHeldOut = 3;

template <class T>
bool SameBytes(std::span<const T> a, std::span<const T> b) {
  return std::ranges::equal(std::as_bytes(a), std::as_bytes(b));
}

// A random block, quantized to the nearest of 3 bits; its inputs, and what the original makes of
// them.
transformer::PreparedBlock PrepareBlock(ThreadPool& pool, const model::ModelConfig& config,
                                        const StoredBlock& block) {
  transformer::PreparedBlock prepared;
  for (const model::LinearRow& row : config.arch->linears) {
    prepared.linear(row.role) = PrepareLinear(pool, block.linear(row.role), math::Precision::kF32);
  }
  for (std::size_t role = 0; role < model::kRoles; ++role) {
    prepared.norms[role] = PrepareNorm(block.norms[role]);
  }
  return prepared;
}

class PolishTest : public ::testing::Test {
 protected:
  PolishTest()
      : model_(Config()), inputs_(Empty(model_.config())), targets_(Empty(model_.config())) {
    Matrix<float> hidden(kSequences * kLength, model_.config().hidden_size);
    std::mt19937 random(3);
    std::normal_distribution<float> normal;
    for (float& x : hidden.span()) x = normal(random);
    inputs_.Store(pool_, 0, hidden);
    const model::BlockWeights weights = model_.Block(0).value();
    Run(transformer::Prepare(pool_, weights, math::Precision::kF32).value(), hidden);
    targets_.Store(pool_, 0, hidden);
  }

  static model::ModelConfig Config() {
    model::ModelConfig config = testing::SmallConfig();
    config.intermediate_size = 64;
    return config;
  }

  StoredBlock Rounded() {
    const model::ModelConfig& config = model_.config();
    PlanOptions options;
    options.bits = 3;
    options.group_size = 16;
    options.format.clear();
    const Plan plan = MakePlan(config, options).value();
    BlockReport report;
    return std::move(QuantizePublished(pool_, config, plan, *FindMethod("rtn"), 0,
                                       model_.Block(0).value(), {}, report)
                         .value()
                         .stored);
  }

  void Run(const transformer::PreparedBlock& block, MatrixView<float> hidden) {
    const model::ModelConfig& config = model_.config();
    const transformer::RopeTable rope(config, kLength);
    transformer::BlockRunner runner(pool_, config, rope, math::Precision::kF32);
    transformer::KvCache cache(config, math::Precision::kF32,
                               {.layers = 1, .slots = kSequences, .capacity_tokens = kLength});
    transformer::Batch batch;
    for (std::size_t s = 0; s < kSequences; ++s) {
      batch.push_back({.tokens = kLength, .position = 0, .slot = s});
    }
    runner.Run(block, {.layer = 0, .cache_layer = 0}, batch, cache, hidden);
  }

  // As Polish has it, of the held-out sequences, but by the runner that readers of the file use.
  double HeldOutError(const StoredBlock& block) {
    Matrix<float> hidden(kSequences * kLength, model_.config().hidden_size);
    Matrix<float> target(hidden.rows(), hidden.cols());
    inputs_.Load(pool_, 0, hidden);
    targets_.Load(pool_, 0, target);
    Run(PrepareBlock(pool_, model_.config(), block), hidden);
    double sum = 0;
    for (std::size_t t = (kSequences - kHeldOut) * kLength; t < hidden.rows(); ++t) {
      double missing = 0;
      double square = 0;
      for (std::size_t c = 0; c < hidden.cols(); ++c) {
        missing += std::pow(static_cast<double>(hidden(t, c)) - target(t, c), 2);
        square += std::pow(static_cast<double>(target(t, c)), 2);
      }
      sum += missing / square;
    }
    return sum / (kHeldOut * kLength);
  }

  PolishTask Task() const {
    return {.config = &model_.config(),
            .layer = 0,
            .sequences = kSequences,
            .sequence_tokens = kLength,
            .held_out_sequences = kHeldOut,
            .inputs = &inputs_,
            .targets = &targets_,
            .on_progress = {}};
  }

  static HiddenStore Empty(const model::ModelConfig& config) {
    return HiddenStore::Create(math::Precision::kF32, kSequences * kLength, config.hidden_size)
        .value();
  }

  static PolishOptions Options(std::size_t epochs) {
    PolishOptions options;
    options.epochs = epochs;
    options.step_tokens = 2 * kLength;
    return options;
  }

  struct Sameness {
    bool codes = true;
    bool scales = true;
    bool zeros = true;
    bool norms = true;
    bool all() const { return codes && scales && zeros && norms; }
  };
  static Sameness Compare(const StoredBlock& a, const StoredBlock& b) {
    Sameness same;
    for (std::size_t role = 0; role < model::kRoles; ++role) {
      same.norms &= SameBytes(std::span(a.norms[role]), std::span(b.norms[role]));
      if (!a.linears[role].quantized) continue;
      const quant::QuantizedLinear& one = *a.linears[role].quantized;
      const quant::QuantizedLinear& other = b.linears[role].quantized.value();
      same.codes &= SameBytes(one.codes.span(), other.codes.span());
      same.scales &= SameBytes(one.scales.span(), other.scales.span());
      same.zeros &= SameBytes(one.zeros.span(), other.zeros.span());
    }
    return same;
  }

  ThreadPool pool_{2};
  testing::RandomModel model_;
  HiddenStore inputs_;
  HiddenStore targets_;
};

TEST_F(PolishTest, LosesLessAndSaysHowMuch) {
  StoredBlock block = Rounded();
  const double before = HeldOutError(block);
  const PolishResult result = Polish(pool_, Task(), Options(20), block);
  // Two ways to the same sums of at most 64 products, in fp32.
  EXPECT_NEAR(result.before, before, 1e-4 * before);
  EXPECT_NEAR(result.after, HeldOutError(block), 1e-4 * before);
  EXPECT_LT(result.after, 0.95 * result.before);
  EXPECT_GT(result.epochs_kept, 0U);
  for (const StoredLinear& linear : block.linears) {
    if (!linear.quantized) continue;
    for (const std::uint8_t code : linear.quantized->codes.span()) ASSERT_LE(code, 7);
  }
}

// Codes, scales and norms each do their part, and no rate moves what is not its own.
TEST_F(PolishTest, EachRateByItselfLosesLess) {
  const StoredBlock before = Rounded();
  PolishOptions all = Options(20);
  all.code_rate = 0.01F;  // in 220 steps on half a cosine a code can travel about one
  for (float PolishOptions::*rate :
       {&PolishOptions::code_rate, &PolishOptions::scale_rate, &PolishOptions::norm_rate}) {
    PolishOptions one = all;
    one.code_rate = one.scale_rate = one.norm_rate = 0;
    one.*rate = all.*rate;
    StoredBlock block = Rounded();
    const PolishResult result = Polish(pool_, Task(), one, block);
    EXPECT_GT(result.epochs_kept, 0U);
    EXPECT_LT(HeldOutError(block), 0.97 * HeldOutError(before));
    const Sameness same = Compare(before, block);
    EXPECT_EQ(same.codes, one.code_rate == 0);
    EXPECT_EQ(same.scales, one.scale_rate == 0);
    EXPECT_EQ(same.norms, one.norm_rate == 0);
    EXPECT_TRUE(same.zeros);
  }
}

TEST_F(PolishTest, KeepsWhatItWasGivenWhereNothingIsBetter) {
  StoredBlock block = Rounded();
  PolishOptions wild = Options(3);
  wild.scale_rate = 3;
  const PolishResult result = Polish(pool_, Task(), wild, block);
  EXPECT_EQ(result.epochs_kept, 0U);
  EXPECT_EQ(result.after, result.before);
  EXPECT_TRUE(Compare(block, Rounded()).all());
}

TEST_F(PolishTest, SameForAnyNumberOfThreads) {
  StoredBlock one = Rounded();
  StoredBlock other = Rounded();
  ThreadPool single(1);
  ThreadPool three(3);
  const PolishResult result = Polish(single, Task(), Options(3), one);
  EXPECT_EQ(Polish(three, Task(), Options(3), other).after, result.after);
  EXPECT_GT(result.epochs_kept, 0U);
  EXPECT_TRUE(Compare(one, other).all());
}

}  // namespace
}  // namespace awq::pipeline
