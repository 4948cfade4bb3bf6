#include "eval/evaluate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "testing/random_model.h"

namespace awq::eval {
namespace {

// No blocks; token i is the unit vector i, the norm leaves it so, and column i of the head holds
// the logarithms of what may follow i: a bigram model, whose figures can be computed by hand.
testing::RandomModel Bigrams(const std::vector<std::vector<double>>& next) {
  model::ModelConfig config = testing::SmallConfig();
  const std::size_t n = next.size();
  config.hidden_size = config.vocab_size = n;
  config.num_hidden_layers = 0;
  config.sliding_window.clear();
  config.rms_norm_eps = 0;
  testing::RandomModel model(config);
  std::vector<float> unit(n * n, 0);
  std::vector<float> head(n * n);
  for (std::size_t i = 0; i < n; ++i) {
    unit[i * n + i] = 1;
    for (std::size_t j = 0; j < n; ++j) head[j * n + i] = static_cast<float>(std::log(next[i][j]));
  }
  model.embedding() = model.Store({n, n}, unit);
  model.head() = model.Store({n, n}, head);
  model.final_norm() =
      model.Store({n}, std::vector<float>(n, 1 / std::sqrt(static_cast<float>(n))));
  return model;
}

Matrix<std::int32_t> Windows(std::size_t n, std::size_t ctx, std::int32_t vocab) {
  Matrix<std::int32_t> windows(n, ctx);
  std::uint32_t seed = 1;
  for (std::int32_t& token : windows.span()) {
    seed = seed * 1664525U + 1013904223U;
    token = static_cast<std::int32_t>((seed >> 16) % static_cast<std::uint32_t>(vocab));
  }
  return windows;
}

TEST(Evaluate, FiguresOfABigramModelByHand) {
  const std::vector<std::vector<double>> p = {{0.5, 0.25, 0.125, 0.125},
                                              {0.1, 0.7, 0.1, 0.1},
                                              {0.25, 0.25, 0.25, 0.25},
                                              {0.4, 0.3, 0.2, 0.1}};
  const std::vector<std::vector<double>> q = {
      {0.4, 0.3, 0.2, 0.1}, {0.2, 0.2, 0.5, 0.1}, {0.3, 0.25, 0.25, 0.2}, {0.4, 0.3, 0.2, 0.1}};
  const testing::RandomModel reference = Bigrams(p);
  const testing::RandomModel model = Bigrams(q);
  Matrix<std::int32_t> windows(2, 4);
  const std::vector<std::int32_t> tokens = {0, 1, 1, 3, 3, 2, 0, 2};
  std::copy(tokens.begin(), tokens.end(), windows.data());
  ThreadPool pool(2);
  const auto report = Evaluate(pool, model, &reference, windows.view(), {});
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->windows, 2U);
  EXPECT_EQ(report->ctx_tokens, 4U);
  EXPECT_EQ(report->predictions, 6U);
  // Predictions: 0>1 1>1 1>3, 3>2 2>0 0>2.
  const double nll = -(std::log(0.3) + std::log(0.2) + std::log(0.1) + std::log(0.2) +
                       std::log(0.3) + std::log(0.2)) /
                     6;
  EXPECT_NEAR(report->nll_nats_per_token.value, nll, 1e-6);
  EXPECT_NEAR(report->perplexity.value, std::exp(nll), 1e-5);
  EXPECT_LE(report->perplexity.low, report->perplexity.value);
  EXPECT_GE(report->perplexity.high, report->perplexity.value);
  ASSERT_TRUE(report->divergence);
  const Divergence& d = *report->divergence;
  std::vector<double> kl;
  for (std::size_t from : {0U, 1U, 1U, 3U, 2U, 0U}) {
    double sum = 0;
    for (std::size_t to = 0; to < 4; ++to) sum += p[from][to] * std::log(p[from][to] / q[from][to]);
    kl.push_back(sum);
  }
  for (std::size_t i = 0; i < 6; ++i) {
    EXPECT_NEAR(static_cast<double>(d.kl_nats[i]), kl[i], 1e-6) << i;
  }
  EXPECT_NEAR(d.kl_mean_nats.value, (kl[0] + kl[1] + kl[2] + kl[3] + kl[4] + kl[5]) / 6, 1e-6);
  // 3>2 is alike (0), then 2>0, 0>1 and 0>2, 1>1 and 1>3.
  EXPECT_NEAR(d.kl_median_nats.value, kl[0], 1e-6);
  EXPECT_NEAR(d.kl_p99_nats.value, kl[1], 1e-6);
  // After 0, 2 and 3 both hold token 0 for the most probable, after 1 they differ.
  EXPECT_NEAR(d.top1_agreement.value, 4.0 / 6, 1e-12);
  const double reference_nll = -(std::log(0.25) + std::log(0.7) + std::log(0.1) + std::log(0.2) +
                                 std::log(0.25) + std::log(0.125)) /
                               6;
  EXPECT_NEAR(d.reference_perplexity.value, std::exp(reference_nll), 1e-5);
  EXPECT_NEAR(d.nll_increase_nats_per_token.value, nll - reference_nll, 1e-6);
}

TEST(Evaluate, AModelDoesNotDivergeFromItself) {
  const testing::RandomModel model(testing::SmallConfig());
  ThreadPool pool(2);
  const auto report = Evaluate(pool, model, &model, Windows(5, 60, 50).view(), {});
  ASSERT_TRUE(report) << report.error().message;
  const Divergence& d = *report->divergence;
  EXPECT_EQ(d.kl_mean_nats.value, 0);  // the same logits to the bit
  EXPECT_EQ(d.kl_p99_nats.high, 0);
  EXPECT_EQ(d.top1_agreement.value, 1);
  EXPECT_EQ(d.nll_increase_nats_per_token.value, 0);
  EXPECT_EQ(d.reference_perplexity.value, report->perplexity.value);
}

// 70 windows of 150: six batches, the last partial; one chunk or two.
TEST(Evaluate, NeitherThreadsNorMemoryChangeTheFigures) {
  const testing::RandomModel reference(testing::SmallConfig(), DType::kBF16, 1);
  const testing::RandomModel model(testing::SmallConfig(), DType::kBF16, 2);
  const Matrix<std::int32_t> windows = Windows(70, 150, 50);
  std::vector<EvalReport> reports;
  for (std::size_t threads : {1U, 2U, 3U, 8U}) {
    ThreadPool pool(threads);
    EvalOptions options;
    if (threads == 2) options.working_bytes = 0;
    auto report = Evaluate(pool, model, &reference, windows.view(), options);
    ASSERT_TRUE(report) << report.error().message;
    reports.push_back(std::move(*report));
  }
  EXPECT_GT(model.releases(), 0U);
  for (const EvalReport& report : reports) {
    EXPECT_EQ(report.nll_nats, reports[0].nll_nats);
    EXPECT_EQ(report.divergence->kl_nats, reports[0].divergence->kl_nats);
    EXPECT_EQ(report.perplexity.high, reports[0].perplexity.high);
    EXPECT_EQ(report.divergence->kl_p99_nats.low, reports[0].divergence->kl_p99_nats.low);
  }
  EXPECT_GT(reports[0].divergence->kl_mean_nats.value, 0.1);  // they are different models
}

class Events final : public ProgressSink {
 public:
  void Update(const ProgressEvent& event) override {
    EXPECT_EQ(event.stage, "evaluating");
    EXPECT_EQ(event.unit, "tokens");
    EXPECT_GE(event.done, last);
    last = event.done;
    total = event.total;
    ++count;
  }
  std::uint64_t last = 0;
  std::uint64_t total = 0;
  int count = 0;
};

TEST(Evaluate, ProgressEndsAtTheTotal) {
  const testing::RandomModel model(testing::SmallConfig());
  ThreadPool pool(1);
  Events events;
  ASSERT_TRUE(Evaluate(pool, model, nullptr, Windows(3, 10, 50).view(), {.progress = &events}));
  EXPECT_EQ(events.last, 30U);
  EXPECT_EQ(events.total, 30U);
  EXPECT_EQ(events.count, 3);  // two layers and the head
}

void ExpectError(const Result<EvalReport>& report, ErrorCode code, const std::string& part) {
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code, code);
  EXPECT_NE(report.error().message.find(part), std::string::npos) << report.error().message;
}

TEST(Evaluate, RefusesWhatCannotBeMeasured) {
  const testing::RandomModel model(testing::SmallConfig());
  ThreadPool pool(1);
  const auto evaluate = [&](std::size_t n, std::size_t ctx, std::int32_t vocab,
                            const model::WeightSource* reference) {
    return Evaluate(pool, model, reference, Windows(n, ctx, vocab).view(), {});
  };
  ExpectError(evaluate(0, 9, 50, nullptr), ErrorCode::kInvalidArgument, "0 windows");
  ExpectError(evaluate(3, 1, 50, nullptr), ErrorCode::kInvalidArgument, "nothing to predict");
  ExpectError(evaluate(1, 513, 50, nullptr), ErrorCode::kInvalidArgument, "512 positions");
  ExpectError(evaluate(2, 200, 60, nullptr), ErrorCode::kInvalidArgument, "vocabulary of 50");
  model::ModelConfig larger = testing::SmallConfig();
  larger.vocab_size = 51;
  const testing::RandomModel other(larger);
  ExpectError(evaluate(2, 9, 50, &other), ErrorCode::kInvalidArgument, "51");
}

TEST(Evaluate, NamesTheWindowWhoseLogitsAreNotFinite) {
  ThreadPool pool(1);
  for (bool in_reference : {false, true}) {
    const testing::RandomModel sound(testing::SmallConfig());
    testing::RandomModel damaged(testing::SmallConfig());
    std::vector<float> embedding(50 * 32, 0.5F);
    embedding[49 * 32] = std::numeric_limits<float>::quiet_NaN();
    damaged.embedding() = damaged.Store({50, 32}, embedding);
    Matrix<std::int32_t> windows = Windows(4, 9, 49);
    windows(2, 5) = 49;
    const model::WeightSource& model = in_reference ? sound : damaged;
    const model::WeightSource* reference = in_reference ? &damaged : nullptr;
    ExpectError(Evaluate(pool, model, reference, windows.view(), {}), ErrorCode::kCorrupt,
                "window 2:");
  }
}

}  // namespace
}  // namespace awq::eval
