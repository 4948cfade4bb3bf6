#include "transformer/network.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <vector>

#include "testing/network_cases.h"
#include "testing/random_model.h"

namespace awq::transformer {
namespace {

using kernels::Precision;
using testing::Tokens;
using testing::Variant;
using testing::Variants;

constexpr std::size_t kTokens = 150;  // more than one tile of queries, no multiple of a step

// How a model is asked for the logits of a sequence.
using Cut = std::vector<std::size_t>;  // tokens of each call, one after another

Matrix<float> LogitsInCalls(ThreadPool& pool, const model::WeightSource& source,
                            const std::vector<std::int32_t>& tokens, Precision precision,
                            const Cut& cut, KvType kv = KvType::kExact) {
  auto network = Network::Create(pool, source, {precision, tokens.size(), SIZE_MAX});
  EXPECT_TRUE(network);
  const model::ModelConfig& config = source.config();
  KvCache cache(config, precision, {config.num_hidden_layers, 1, tokens.size(), kv});
  Matrix<float> logits(tokens.size(), config.vocab_size);
  std::size_t done = 0;
  for (std::size_t count : cut) {
    Matrix<float> hidden(count, config.hidden_size);
    EXPECT_TRUE((*network)->Embed(std::span(tokens).subspan(done, count), hidden));
    EXPECT_TRUE((*network)->RunBlocks({{count, done, 0}}, cache, hidden));
    EXPECT_TRUE((*network)->Logits(hidden.view(), logits.view().Rows(done, count)));
    done += count;
  }
  EXPECT_EQ(done, tokens.size());
  return logits;
}

double Rms(const Matrix<float>& m) {
  double sum = 0;
  for (float x : m.span()) sum += static_cast<double>(x) * static_cast<double>(x);
  return std::sqrt(sum / static_cast<double>(m.size()));
}

void ExpectClose(const Matrix<float>& a, const Matrix<float>& b, double relative) {
  ASSERT_EQ(a.rows(), b.rows());
  const double tolerance = relative * Rms(b);
  ASSERT_GT(tolerance, 0);
  for (std::size_t i = 0; i < a.size(); ++i) {
    ASSERT_NEAR(static_cast<double>(a.data()[i]), static_cast<double>(b.data()[i]), tolerance) << i;
  }
}

// Different cuts of the tokens go through different products (dots, tiles, ranges of keys), whose
// sums are ordered differently: 2^-24 times a few hundred terms, grown by two blocks.
constexpr double kOrderTolerance = 2e-5;

TEST(Network, AnyCutOfASequenceGivesTheSameLogits) {
  ThreadPool pool(2);
  const std::vector<std::int32_t> tokens = Tokens(kTokens, 1);
  for (const Variant& variant : Variants(20)) {
    SCOPED_TRACE(variant.name);
    model::ModelConfig config = testing::SmallConfig();
    variant.change(config);
    const testing::RandomModel source(config);
    const Matrix<float> whole = LogitsInCalls(pool, source, tokens, Precision::kF32, {kTokens});
    ExpectClose(LogitsInCalls(pool, source, tokens, Precision::kF32, Cut(kTokens, 1)), whole,
                kOrderTolerance);
    ExpectClose(LogitsInCalls(pool, source, tokens, Precision::kF32, {3, 64, 1, 70, 2, 10}), whole,
                kOrderTolerance);
  }
}

double RmsDifference(const Matrix<float>& a, const Matrix<float>& b) {
  Matrix<float> difference(a.rows(), a.cols());
  for (std::size_t i = 0; i < a.size(); ++i) difference.data()[i] = a.data()[i] - b.data()[i];
  return Rms(difference);
}

TEST(Network, BF16StaysNearF32) {
  if (!math::HasFastBF16()) GTEST_SKIP() << "this CPU has no bf16 instructions";
  ThreadPool pool(2);
  const std::vector<std::int32_t> tokens = Tokens(kTokens, 1);
  const testing::RandomModel source(testing::SmallConfig(), DType::kBF16);
  const Matrix<float> f32 = LogitsInCalls(pool, source, tokens, Precision::kF32, {kTokens});
  const Matrix<float> bf16 = LogitsInCalls(pool, source, tokens, Precision::kBF16, {kTokens});
  // The weights are bf16 already. What is rounded: 4 inputs, queries, keys, values and attention
  // weights in each of 2 blocks, and the head's input: 17 errors of 2^-9, .58 of that on average.
  // Independent errors add in squares; sharp attention amplifies them a few times.
  const double difference = RmsDifference(f32, bf16);
  EXPECT_LT(difference, 4 * std::sqrt(17.0) * 0.58 * 0x1p-9 * Rms(f32));
  EXPECT_GT(difference, 0);
  // Cached decoding in bf16 differs from the whole sequence by the same kind of error at most.
  ExpectClose(LogitsInCalls(pool, source, tokens, Precision::kBF16, Cut(kTokens, 1)), bf16, 0.1);
}

TEST(Network, NarrowKeysAndValuesStayNearExactOnes) {
  ThreadPool pool(2);
  const std::vector<std::int32_t> tokens = Tokens(kTokens, 1);
  // Of a value's size: rounding to 11 bits, .58 of a half step's 2^-11 on average; and steps of
  // 1/127 of the largest of 8, which is twice their root mean square.
  const struct {
    KvType type;
    double error;
  } kinds[] = {{KvType::kF16, 0.58 * 0x1p-11}, {KvType::kInt8, 2.0 / 127 / std::sqrt(12.0)}};
  for (const Variant& variant : Variants(20)) {
    SCOPED_TRACE(variant.name);
    model::ModelConfig config = testing::SmallConfig();
    variant.change(config);
    const testing::RandomModel source(config);
    const Matrix<float> exact = LogitsInCalls(pool, source, tokens, Precision::kF32, {kTokens});
    for (const auto& [type, error] : kinds) {
      for (const Cut& cut : {Cut{kTokens}, Cut(kTokens, 1), Cut{3, 64, 1, 70, 2, 10}}) {
        const double difference =
            RmsDifference(LogitsInCalls(pool, source, tokens, Precision::kF32, cut, type), exact);
        // Keys and values in each of 2 blocks; sharp attention amplifies a few times.
        EXPECT_LT(difference, 4 * std::sqrt(4.0) * error * Rms(exact));
        EXPECT_GT(difference, 0.1 * error * Rms(exact));
      }
    }
  }
}

// Three sequences at different positions in one batch, one of them a single token.
TEST(Network, BatchedSequencesDoNotSeeEachOther) {
  ThreadPool pool(2);
  model::ModelConfig config = testing::SmallConfig();
  config.sliding_window = {30, 0};
  const testing::RandomModel source(config);
  auto network = Network::Create(pool, source, {Precision::kF32, kTokens, SIZE_MAX});
  ASSERT_TRUE(network);
  KvCache cache(config, Precision::kF32, {config.num_hidden_layers, 3, kTokens});
  std::vector<Matrix<float>> alone;
  std::vector<std::vector<std::int32_t>> sequences;
  for (std::uint32_t s = 0; s < 3; ++s) {
    sequences.push_back(Tokens(kTokens, 10 + s));
    alone.push_back(LogitsInCalls(pool, source, sequences.back(), Precision::kF32, {kTokens}));
  }
  const auto run = [&](const Batch& batch) {
    const std::size_t tokens = TokensOf(batch);
    Matrix<float> hidden(tokens, config.hidden_size);
    std::vector<std::int32_t> ids;
    for (const Segment& s : batch) {
      const auto from = sequences[s.slot].begin() + static_cast<std::ptrdiff_t>(s.position);
      ids.insert(ids.end(), from, from + static_cast<std::ptrdiff_t>(s.tokens));
    }
    ASSERT_TRUE((*network)->Embed(ids, hidden));
    ASSERT_TRUE((*network)->RunBlocks(batch, cache, hidden));
    Matrix<float> logits(tokens, config.vocab_size);
    EXPECT_TRUE((*network)->Logits(hidden.view(), logits));
    std::size_t row = 0;
    for (const Segment& s : batch) {
      for (std::size_t t = 0; t < s.tokens; ++t, ++row) {
        const double tolerance = kOrderTolerance * Rms(alone[s.slot]);
        for (std::size_t v = 0; v < config.vocab_size; ++v) {
          ASSERT_NEAR(static_cast<double>(logits(row, v)),
                      static_cast<double>(alone[s.slot](s.position + t, v)), tolerance)
              << "slot " << s.slot << " position " << s.position + t;
        }
      }
    }
  };
  run({{100, 0, 2}, {1, 0, 0}, {7, 0, 1}});
  run({{1, 1, 0}, {40, 100, 2}, {66, 7, 1}});
  run({{1, 140, 2}, {1, 2, 0}, {1, 73, 1}});
}

TEST(Network, ThreadsDoNotChangeABit) {
  const std::vector<std::int32_t> tokens = Tokens(kTokens, 1);
  for (Precision precision : {Precision::kF32, Precision::kBF16}) {
    if (precision == Precision::kBF16 && !math::HasFastBF16()) continue;
    const testing::RandomModel source(testing::SmallConfig(), DType::kF16);
    Matrix<float> first;
    for (std::size_t threads : {1U, 2U, 3U, 8U}) {
      ThreadPool pool(threads);
      Matrix<float> logits = LogitsInCalls(pool, source, tokens, precision, {140, 1, 4, 5});
      if (first.rows() == 0) {
        first = std::move(logits);
      } else {
        EXPECT_EQ(std::memcmp(logits.data(), first.data(), first.size() * sizeof(float)), 0)
            << threads;
      }
    }
  }
}

TEST(Network, TooLittleMemoryIsSaidBeforeTheSecondBlock) {
  ThreadPool pool(2);
  const testing::RandomModel source(testing::SmallConfig(), DType::kF16);  // fp32 has to be made
  const std::size_t layers = source.config().num_hidden_layers;
  const auto run = [&](std::size_t memory_bytes) {
    const auto network =
        Network::Create(pool, source, {.positions = 4, .memory_bytes = memory_bytes}).value();
    KvCache cache(source.config(), Precision::kF32, {layers, 1, 4});
    Matrix<float> hidden(1, source.config().hidden_size);
    const Status status = network->RunBlocks({{1, 0, 0}}, cache, hidden);
    EXPECT_EQ(status.ok(), network->BlockWork().weight_bytes > 0);
    return std::pair(status.ok() ? std::string() : status.error().message,
                     network->BlockWork().weight_bytes);
  };
  const std::size_t all_bytes = run(SIZE_MAX).second;
  EXPECT_EQ(run(all_bytes).first, "");
  EXPECT_NE(run(all_bytes - 1).first.find(fmt::format("{} blocks take", layers)),
            std::string::npos);
}

TEST(Network, BlockByBlockOverBatchesIsTheSame) {
  ThreadPool pool(2);
  const testing::RandomModel source(testing::SmallConfig(), DType::kF16);
  const model::ModelConfig& config = source.config();
  const std::vector<std::int32_t> tokens = Tokens(4 * 40, 3);
  for (std::size_t keep_bytes : {std::size_t{0}, SIZE_MAX}) {
    auto network = Network::Create(pool, source, {Precision::kF32, 40, keep_bytes});
    ASSERT_TRUE(network);
    Matrix<float> whole(160, config.hidden_size);
    ASSERT_TRUE((*network)->Embed(tokens, whole));
    Matrix<float> parts(160, config.hidden_size);
    std::copy(whole.span().begin(), whole.span().end(), parts.data());
    KvCache all(config, Precision::kF32, {config.num_hidden_layers, 4, 40});
    ASSERT_TRUE(
        (*network)->RunBlocks({{40, 0, 0}, {40, 0, 1}, {40, 0, 2}, {40, 0, 3}}, all, whole));
    KvCache one(config, Precision::kF32, {1, 2, 40});
    const std::vector<Batch> batches(2, Batch{{40, 0, 0}, {40, 0, 1}});
    for (std::size_t layer = 0; layer < config.num_hidden_layers; ++layer) {
      ASSERT_TRUE((*network)->RunBlock(layer, batches, one, parts));
    }
    ExpectClose(parts, whole, kOrderTolerance);
  }
}

// Notes which sites were seen and how wide their inputs were.
class Sites final : public Observer {
 public:
  void OnInput(Role reader, const kernels::Activations& input) override {
    readers.push_back(reader);
    widths.push_back(input.width());
    tokens += input.tokens();
  }
  std::vector<Role> readers;
  std::vector<std::size_t> widths;
  std::size_t tokens = 0;
};

TEST(Network, AnObserverSeesTheFourSitesOfABlockInOrder) {
  ThreadPool pool(1);
  const testing::RandomModel source(testing::SmallConfig());
  const model::ModelConfig& config = source.config();
  auto network = Network::Create(pool, source, {Precision::kF32, 9, SIZE_MAX});
  ASSERT_TRUE(network);
  Matrix<float> hidden(9, config.hidden_size);
  ASSERT_TRUE((*network)->Embed(Tokens(9, 1), hidden));
  KvCache cache(config, Precision::kF32, {1, 1, 9});
  const std::vector<Batch> batches = {{{9, 0, 0}}};
  Sites sites;
  ASSERT_TRUE((*network)->RunBlock(1, batches, cache, hidden, &sites));
  EXPECT_EQ(sites.readers, (std::vector<Role>{Role::kQ, Role::kO, Role::kGate, Role::kDown}));
  EXPECT_EQ(sites.widths, (std::vector<std::size_t>{32, 32, 32, 48}));
  EXPECT_EQ(sites.tokens, 36U);
}

TEST(Network, RefusesTokensThatTheModelDoesNotHave) {
  ThreadPool pool(1);
  const testing::RandomModel source(testing::SmallConfig());
  auto network = Network::Create(pool, source, {Precision::kF32, 4, SIZE_MAX});
  ASSERT_TRUE(network);
  Matrix<float> hidden(2, 32);
  for (std::int32_t bad : {-1, 50, INT32_MAX}) {
    const std::vector<std::int32_t> tokens = {3, bad};
    const Status status = (*network)->Embed(tokens, hidden);
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(status.error().message.find(std::to_string(bad)), std::string::npos);
  }
}

TEST(Network, PositionsBeyondTheTableAndMissingSlotsAreBugs) {
  ThreadPool pool(1);
  const testing::RandomModel source(testing::SmallConfig());
  auto network = Network::Create(pool, source, {Precision::kF32, 4, SIZE_MAX});
  ASSERT_TRUE(network);
  KvCache cache(source.config(), Precision::kF32, {2, 1, 8});
  Matrix<float> hidden(2, 32, 0.0F);
  EXPECT_THROW((void)(*network)->RunBlocks({{2, 3, 0}}, cache, hidden), InternalError);
  EXPECT_THROW((void)(*network)->RunBlocks({{2, 0, 1}}, cache, hidden), InternalError);
  EXPECT_THROW((void)(*network)->RunBlocks({{1, 0, 0}}, cache, hidden), InternalError);
}

}  // namespace
}  // namespace awq::transformer
