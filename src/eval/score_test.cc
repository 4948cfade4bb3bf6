#include "eval/score.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "eval/test_model.h"

namespace awq::eval {
namespace {

Matrix<std::int32_t> Windows(std::size_t n, std::size_t ctx, std::size_t vocab) {
  Matrix<std::int32_t> windows(n, ctx);
  for (std::size_t i = 0; i < windows.size(); ++i) {
    windows.data()[i] = static_cast<std::int32_t>(i * 7919 % vocab);
  }
  return windows;
}

EvalReport Score(MatrixView<const std::int32_t> windows, FakeModel* reference, FakeModel& model) {
  ThreadPool pool(2);
  WindowScorer scorer(pool, windows, 1, reference != nullptr);
  const ScoredModel scored = model.Scored();
  const ScoredModel compared = reference != nullptr ? reference->Scored() : ScoredModel();
  const Status status = scorer.Score(0, windows.rows, reference != nullptr ? &compared : nullptr,
                                     std::span(&scored, 1));
  EXPECT_TRUE(status) << status.error().message;
  return std::move(std::move(scorer).Reports().front());
}

TEST(WindowScorer, EveryPredictionByHand) {
  const Matrix<std::int32_t> windows = Windows(3, 5, 9);
  FakeModel reference(15, 9, 1);
  FakeModel model(15, 9, 2);
  const EvalReport report = Score(windows, &reference, model);
  ASSERT_EQ(report.nll_nats.size(), 12U);
  double nll_sum = 0;
  double reference_sum = 0;
  for (std::size_t i = 0; i < 12; ++i) {
    const std::size_t window = i / 4;
    const std::size_t token = window * 5 + i % 4;
    const auto next = static_cast<std::size_t>(windows(window, i % 4 + 1));
    const std::vector<double> p = reference.Probabilities(token);
    const std::vector<double> q = model.Probabilities(token);
    double kl = 0;
    for (std::size_t v = 0; v < 9; ++v) kl += p[v] * std::log(p[v] / q[v]);
    EXPECT_NEAR(static_cast<double>(report.nll_nats[i]), -std::log(q[next]), 1e-6) << i;
    EXPECT_NEAR(static_cast<double>(report.divergence->kl_nats[i]), kl, 1e-6) << i;
    nll_sum -= std::log(q[next]);
    reference_sum -= std::log(p[next]);
  }
  EXPECT_NEAR(report.nll_nats_per_token.value, nll_sum / 12, 1e-6);
  EXPECT_NEAR(report.divergence->reference_nll_nats_per_token.value, reference_sum / 12, 1e-6);
}

// 209 rows a tile, ten tiles a batch.
TEST(WindowScorer, ManyModelsAtOnceAndManyCallsGiveTheSame) {
  const std::size_t vocab = 40000;
  const std::size_t ctx = 300;  // batches of 6 windows
  const Matrix<std::int32_t> windows = Windows(8, ctx, vocab);
  FakeModel reference(8 * ctx, vocab, 1);
  FakeModel first(8 * ctx, vocab, 2);
  FakeModel second(8 * ctx, vocab, 3);
  ThreadPool pool(2);
  ASSERT_EQ(WindowScorer::BatchWindows(ctx), 6U);
  WindowScorer scorer(pool, windows, 2, true);
  for (const auto& [begin, count] : {std::pair<std::size_t, std::size_t>{0, 6}, {6, 2}}) {
    const ScoredModel compared = reference.Scored(begin * ctx);
    const std::vector<ScoredModel> models = {first.Scored(begin * ctx), second.Scored(begin * ctx)};
    ASSERT_TRUE(scorer.Score(begin, count, &compared, models));
  }
  const std::vector<EvalReport> reports = std::move(scorer).Reports();
  EXPECT_EQ(reference.rows, 8 * ctx);  // once for both
  EXPECT_EQ(reference.largest_tile, LogitsTileRows(vocab));
  EXPECT_LE(LogitsTileRows(vocab) * vocab * sizeof(float), std::size_t{32} << 20);
  ASSERT_EQ(reports.size(), 2U);
  for (std::size_t m = 0; m < 2; ++m) {
    const EvalReport alone = Score(windows, &reference, m == 0 ? first : second);
    EXPECT_EQ(reports[m].nll_nats, alone.nll_nats);
    EXPECT_EQ(reports[m].divergence->kl_nats, alone.divergence->kl_nats);
    EXPECT_EQ(reports[m].divergence->kl_mean_nats.high, alone.divergence->kl_mean_nats.high);
    EXPECT_EQ(reports[m].divergence->reference_perplexity.low,
              alone.divergence->reference_perplexity.low);
    EXPECT_EQ(reports[m].divergence->top1_agreement.value, alone.divergence->top1_agreement.value);
  }
  EXPECT_NE(reports[0].nll_nats, reports[1].nll_nats);
}

TEST(WindowScorer, NamesTheWindowThatIsNotFinite) {
  const Matrix<std::int32_t> windows = Windows(4, 5, 9);
  ThreadPool pool(1);
  for (std::size_t bad : {0U, 1U, 2U}) {  // the reference, the models
    std::vector<FakeModel> fakes;
    for (std::uint32_t seed : {1U, 2U, 3U}) fakes.emplace_back(20, 9, seed);
    fakes[bad].damaged = 2 * 5 + 1;
    const ScoredModel reference = fakes[0].Scored();
    const std::vector<ScoredModel> models = {fakes[1].Scored(), fakes[2].Scored()};
    WindowScorer scorer(pool, windows, 2, true);
    const Status status = scorer.Score(0, 4, &reference, models);
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, ErrorCode::kCorrupt);
    EXPECT_NE(status.error().message.find("window 2:"), std::string::npos);
  }
}

TEST(WindowScorer, ATokenOutsideTheVocabularyReadsNoMemory) {
  FakeModel model(5, 9, 1);
  ThreadPool pool(1);
  for (std::int32_t token : {-1, 9}) {
    Matrix<std::int32_t> windows = Windows(1, 5, 9);
    windows(0, 3) = token;
    WindowScorer scorer(pool, windows, 1, false);
    const ScoredModel scored = model.Scored();
    EXPECT_THROW(static_cast<void>(scorer.Score(0, 1, nullptr, std::span(&scored, 1))),
                 InternalError);
  }
}

TEST(PairedDifference, LosesWhatBothModelsShare) {
  const Matrix<std::int32_t> windows = Windows(40, 5, 9);
  FakeModel reference(200, 9, 1);
  FakeModel model(200, 9, 2);
  const EvalReport a = Score(windows, &reference, model);
  EvalReport b = a;
  for (float& nll : b.nll_nats) nll += 0.25F;  // alike in every window
  for (std::size_t i = 0; i < b.divergence->kl_nats.size(); ++i) {
    b.divergence->kl_nats[i] += i < 80 ? 0.5F : 0.0F;  // in half of the windows
  }
  const auto paired = PairedDifference(a, b);
  ASSERT_TRUE(paired) << paired.error().message;
  // Four roundings of values below 8 to 24 bits.
  EXPECT_NEAR(paired->nll_nats_per_token.value, -0.25, 2e-6);
  EXPECT_NEAR(paired->nll_nats_per_token.low, -0.25, 2e-6);
  EXPECT_NEAR(paired->nll_nats_per_token.high, -0.25, 2e-6);
  EXPECT_GT(a.nll_nats_per_token.high - a.nll_nats_per_token.low, 0.1);
  ASSERT_TRUE(paired->kl_mean_nats);
  EXPECT_NEAR(paired->kl_mean_nats->value, -0.25, 2e-6);
  // 40 draws of 0 or 0.5: 1.96 * 0.25 / sqrt(40) = 0.077 on either side, give or take 5 times 2 %
  // for 1000 resamples, and one window
  EXPECT_NEAR(paired->kl_mean_nats->low, -0.327, 0.0077 + 0.0125);
  EXPECT_NEAR(paired->kl_mean_nats->high, -0.173, 0.0077 + 0.0125);
}

TEST(PairedDifference, RefusesWhatCannotBePaired) {
  const Matrix<std::int32_t> windows = Windows(4, 5, 9);
  FakeModel reference(20, 9, 1);
  FakeModel other(20, 9, 3);
  FakeModel model(20, 9, 2);
  const EvalReport a = Score(windows, &reference, model);
  const auto refused = [&](const EvalReport& b, const std::string& part) {
    const auto paired = PairedDifference(a, b);
    ASSERT_FALSE(paired);
    EXPECT_EQ(paired.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(paired.error().message.find(part), std::string::npos) << paired.error().message;
  };
  refused(Score(Windows(3, 5, 9), &reference, model), "3 of 5");
  refused(Score(Windows(4, 4, 9), &reference, model), "4 of 4");
  refused(Score(windows, &other, model), "same reference");
  const auto without = PairedDifference(a, Score(windows, nullptr, model));
  ASSERT_TRUE(without);
  EXPECT_EQ(without->nll_nats_per_token.value, 0);
  EXPECT_FALSE(without->kl_mean_nats);
}

}  // namespace
}  // namespace awq::eval
