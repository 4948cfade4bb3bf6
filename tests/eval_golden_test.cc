// Perplexities and divergences of whole models against transformers (tools/make_eval_golden.py).
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/reader.h"
#include "eval/evaluate.h"
#include "io/file.h"
#include "io/json.h"
#include "testing/paths.h"
#include "testing/rounded_model.h"
#include "text/tokenizer.h"
#include "text/windows.h"

namespace awq::eval {
namespace {

constexpr std::size_t kMaxBytes = std::size_t{64} << 20;
const quant::Spec kRtn{4, 32, false};

std::filesystem::path Bundled() { return testing::SourceDir() / "models" / "little-stories"; }

std::filesystem::path ModelPath(const nlohmann::json& row) {
  const auto name = row.at("model").get<std::string>();
  return name == "little-stories" ? Bundled() : testing::DataDir() / "models" / name;
}

std::filesystem::path TextPath(const nlohmann::json& row) {
  const auto name = row.at("text").get<std::string>();
  return name == "heldout.txt" ? Bundled() / name : testing::DataDir() / "text" / name;
}

Matrix<std::int32_t> Cut(const nlohmann::json& row, const checkpoint::ModelDirectory& model) {
  const auto tokenizer = text::Tokenizer::Load(model.path());
  EXPECT_TRUE(tokenizer) << tokenizer.error().message;
  auto content = io::ReadFile(TextPath(row), kMaxBytes);
  EXPECT_TRUE(content) << content.error().message;
  text::WindowOptions options;
  options.ctx_tokens = row.at("ctx");
  options.max_windows = row.at("windows");
  const bool per_window = row.at("bos_mode") == "window";
  options.bos = per_window ? text::BosMode::kWindow : text::BosMode::kAuto;
  options.bos_token_id = static_cast<std::int32_t>(model.config().bos_token_id.value_or(0));
  // More than enough for the windows, as the tool does.
  const auto text = content->substr(0, options.max_windows * options.ctx_tokens * 16);
  auto windows = text::CutWindows(**tokenizer, text, options);
  EXPECT_TRUE(windows) << windows.error().message;
  return std::move(windows->ids);
}

// One figure of transformers beside ours.
void ExpectRelative(double ours, const nlohmann::json& theirs, double relative) {
  EXPECT_NEAR(ours, theirs.get<double>(), relative * std::abs(theirs.get<double>()));
}

void ExpectRow(const nlohmann::json& row) {
  auto model = checkpoint::ModelDirectory::Open(ModelPath(row));
  ASSERT_TRUE(model) << model.error().message;
  const testing::RoundedModel rounded(**model, {.bits = 4, .group_size = 32});
  const bool with_reference = row.contains("kl_mean_nats");
  const Matrix<std::int32_t> windows = Cut(row, **model);
  ASSERT_EQ(windows.rows(), row.at("windows").get<std::size_t>());
  ThreadPool pool;
  const auto report = with_reference ? Evaluate(pool, rounded, model->get(), windows.view(), {})
                                     : Evaluate(pool, **model, nullptr, windows.view(), {});
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->predictions, row.at("predictions").get<std::size_t>());
  const auto first = row.at("first_nlls").get<std::vector<double>>();
  for (std::size_t i = 0; i < first.size(); ++i) {
    // fp32 on both sides, logits of order 10 after up to 8 blocks
    EXPECT_NEAR(static_cast<double>(report->nll_nats.at(i)), first[i], 2e-4) << i;
  }
  ExpectRelative(report->nll_nats_per_token.value, row.at("nll_nats_per_token"), 1e-5);
  ExpectRelative(report->perplexity.value, row.at("perplexity"), 1e-5);
  ASSERT_EQ(report->divergence.has_value(), with_reference);
  if (!with_reference) return;
  const Divergence& d = *report->divergence;
  ExpectRelative(d.kl_mean_nats.value, row.at("kl_mean_nats"), 1e-4);
  ExpectRelative(d.kl_median_nats.value, row.at("kl_median_nats"), 1e-4);
  ExpectRelative(d.kl_p99_nats.value, row.at("kl_p99_nats"), 1e-4);
  // A tie that falls the other way moves one prediction.
  EXPECT_NEAR(d.top1_agreement.value, row.at("top1_agreement").get<double>(),
              1.0 / static_cast<double>(report->predictions) + 1e-9);
}

TEST(EvalGolden, PerplexityAndDivergenceAreThoseOfTransformers) {
  const auto rows = io::ReadJson(testing::GoldenDir() / "eval" / "perplexity.json", kMaxBytes);
  ASSERT_TRUE(rows) << rows.error().message;
  int skipped = 0;
  for (const nlohmann::json& row : *rows) {
    if (!std::filesystem::exists(ModelPath(row)) || !std::filesystem::exists(TextPath(row))) {
      ++skipped;
      continue;
    }
    SCOPED_TRACE(row.at("model").get<std::string>() + " " + row.at("variant").get<std::string>() +
                 " " + row.at("bos_mode").get<std::string>());
    ExpectRow(row);
  }
  if (skipped > 0) {
    GTEST_SKIP() << skipped << " of " << rows->size()
                 << " rows need shared data; point AWQ_TEST_DATA at the folder that holds it";
  }
}

}  // namespace
}  // namespace awq::eval
