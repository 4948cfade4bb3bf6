// Multiple-choice tasks against an independent reading of the harness's rules and transformers
// (tools/make_task_golden.py).
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/reader.h"
#include "eval/task_score.h"
#include "eval/tasks.h"
#include "io/json.h"
#include "testing/paths.h"
#include "text/tokenizer.h"
#include "transformer/network.h"

namespace awq::eval {
namespace {

using transformer::Network;

constexpr std::size_t kMaxBytes = std::size_t{64} << 20;
// Of one prediction: fp32 on both sides, logits of order 10 after 6 blocks (as in
// eval_golden_test.cc). A choice's log-likelihood is the sum of those of its tokens.
constexpr double kNatsPerToken = 2e-4;

// 64-bit words, as the tool takes them.
class Fnv1a {
 public:
  void Add(std::uint64_t word) { value_ = (value_ ^ word) * 0x100000001B3U; }
  std::string Text() const { return fmt::format("{:016x}", value_); }

 private:
  std::uint64_t value_ = 0xCBF29CE484222325U;
};

std::string Hash(const Task& task) {
  Fnv1a hash;
  for (const TaskItem& item : task.items) {
    hash.Add(item.gold);
    hash.Add(item.sequences.size());
    for (const TaskSequence& sequence : item.sequences) {
      hash.Add(sequence.scored_from);
      hash.Add(sequence.characters);
      hash.Add(sequence.tokens.size());
      for (std::int32_t token : sequence.tokens) hash.Add(static_cast<std::uint64_t>(token));
    }
  }
  return hash.Text();
}

class TaskGolden : public ::testing::Test {
 protected:
  void SetUp() override {
    auto golden = io::ReadJson(testing::GoldenDir() / "eval" / "tasks.json", kMaxBytes);
    ASSERT_TRUE(golden) << golden.error().message;
    golden_ = std::move(*golden);
    AWQ_NEEDS_DATA(std::filesystem::path("models") / "stories15M");
    for (const nlohmann::json& row : golden_.at("tokens")) AWQ_NEEDS_DATA(File(row));
    const auto directory = testing::DataDir() / "models" / golden_.at("model").get<std::string>();
    auto tokenizer = text::Tokenizer::Load(directory);
    ASSERT_TRUE(tokenizer) << tokenizer.error().message;
    tokenizer_ = *tokenizer;
    auto model = checkpoint::ModelDirectory::Open(directory);
    ASSERT_TRUE(model) << model.error().message;
    model_ = std::move(*model);
  }

  static std::filesystem::path File(const nlohmann::json& row) {
    return std::filesystem::path("text") / row.at("file").get<std::string>();
  }

  Result<Task> Read(const nlohmann::json& row, std::size_t items) {
    TaskOptions options;
    options.max_items = items;
    options.max_tokens = row.at("max_tokens");
    options.bos = row.at("bos_mode") == "auto" ? text::BosMode::kAuto : text::BosMode::kNever;
    return ReadTask(testing::DataDir() / File(row), *tokenizer_, options);
  }

  nlohmann::json golden_;
  std::shared_ptr<const text::Tokenizer> tokenizer_;
  std::unique_ptr<checkpoint::ModelDirectory> model_;
};

TEST_F(TaskGolden, EveryTokenOfEveryItemIsTheHarnesss) {
  for (const nlohmann::json& row : golden_.at("tokens")) {
    SCOPED_TRACE(row.dump());
    const auto task = Read(row, SIZE_MAX);
    ASSERT_TRUE(task) << task.error().message;
    EXPECT_EQ(task->items.size(), row.at("items").get<std::size_t>());
    EXPECT_EQ(Hash(*task), row.at("hash").get<std::string>());
  }
}

// Hidden states of all sequences, one after another.
Matrix<float> HiddenStates(Network& network, const Task& task) {
  const model::ModelConfig& config = network.config();
  Matrix<float> hidden(InputTokens(task.items), config.hidden_size);
  std::size_t row = 0;
  for (const TaskItem& item : task.items) {
    for (const TaskSequence& sequence : item.sequences) {
      const std::span<const std::int32_t> inputs = sequence.inputs();
      transformer::KvCache cache(config, network.precision(),
                                 {config.num_hidden_layers, 1, inputs.size()});
      const auto rows = hidden.view().Rows(row, inputs.size());
      EXPECT_TRUE(network.Embed(inputs, rows));
      EXPECT_TRUE(network.RunBlocks({{inputs.size(), 0, 0}}, cache, rows));
      row += inputs.size();
    }
  }
  return hidden;
}

void ExpectScores(const nlohmann::json& row, const Task& task, const TaskReport& report) {
  std::size_t choice = 0;
  for (std::size_t i = 0; i < task.items.size(); ++i) {
    const nlohmann::json& item = row.at("items").at(i);
    const auto expected = item.at("log_likelihoods").get<std::vector<double>>();
    const auto tokens = item.at("scored_tokens").get<std::vector<std::size_t>>();
    ASSERT_EQ(task.items[i].sequences.size(), expected.size());
    for (std::size_t c = 0; c < expected.size(); ++c, ++choice) {
      const TaskSequence& sequence = task.items[i].sequences[c];
      EXPECT_EQ(sequence.tokens.size() - sequence.scored_from, tokens[c]);
      EXPECT_NEAR(report.log_likelihood_nats.at(choice), expected[c],
                  kNatsPerToken * static_cast<double>(tokens[c]))
          << "item " << i << ", choice " << c;
    }
    EXPECT_EQ(report.correct.at(i) != 0, item.at("acc").get<bool>()) << i;
    EXPECT_EQ(report.correct_norm.at(i) != 0, item.at("acc_norm").get<bool>()) << i;
  }
  EXPECT_EQ(choice, report.log_likelihood_nats.size());
}

TEST_F(TaskGolden, LogLikelihoodsAreThoseOfTransformers) {
  ThreadPool pool;
  const std::size_t positions = model_->config().max_position_embeddings;
  auto network = Network::Create(pool, *model_, {kernels::Precision::kF32, positions, SIZE_MAX});
  ASSERT_TRUE(network) << network.error().message;
  for (const nlohmann::json& row : golden_.at("scores")) {
    SCOPED_TRACE(row.at("file").get<std::string>() + " " + row.at("bos_mode").get<std::string>());
    const auto task = Read(row, row.at("items").size());
    ASSERT_TRUE(task) << task.error().message;
    EXPECT_EQ(task->truncated_sequences, row.at("truncated").get<std::size_t>());
    const Matrix<float> hidden = HiddenStates(**network, *task);
    ScoredModel model;
    model.vocab_size = model_->config().vocab_size;
    model.hidden = [&](std::size_t first, std::size_t count) {
      return hidden.view().Rows(first, count);
    };
    model.logits = [&](MatrixView<const float> from, MatrixView<float> to) {
      return (*network)->Logits(from, to);
    };
    const auto report = ScoreTask(pool, *task, model);
    ASSERT_TRUE(report) << report.error().message;
    ExpectScores(row, *task, *report);
  }
}

}  // namespace
}  // namespace awq::eval
