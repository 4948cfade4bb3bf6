// The forward pass of every architecture against the logits that transformers computes (see
// tools/make_model_fixtures.py), read through a model directory; and two that programs of others
// quantized (tools/interop/make_golden.py).
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "checkpoint/reader.h"
#include "io/safetensors.h"
#include "testing/paths.h"
#include "transformer/network.h"

namespace awq::transformer {
namespace {

using kernels::Precision;

struct Expected {
  std::size_t sequences = 0;
  std::size_t tokens = 0;
  std::vector<std::int32_t> ids;  // [sequences * tokens]
  std::vector<float> logits;      // [sequences * tokens, vocab]

  explicit Expected(const std::filesystem::path& path) {
    const auto file = io::SafetensorsFile::Open(path);
    if (!file) return;
    for (const io::TensorInfo& info : file->tensors()) {
      const TensorView view = file->View(info);
      if (info.name == "logits") {
        logits.resize(view.elements());
        std::memcpy(logits.data(), view.bytes.data(), view.bytes.size());
      } else if (info.name == "input_ids") {
        sequences = info.shape.at(0);
        tokens = info.shape.at(1);
        for (std::size_t i = 0; i < view.elements(); ++i) {
          std::int64_t id = 0;
          std::memcpy(&id, view.bytes.data() + i * sizeof(id), sizeof(id));
          ids.push_back(static_cast<std::int32_t>(id));
        }
      }
    }
  }
};

struct Difference {
  double rms = 0;      // of the expected logits
  double largest = 0;  // of the differences
  double average = 0;  // their root mean square
};

class ForwardGolden : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    const std::filesystem::path directory = testing::GoldenDir() / "models" / GetParam();
    auto model = checkpoint::ModelDirectory::Open(directory);
    ASSERT_TRUE(model) << model.error().message;
    model_ = std::move(*model);
    expected_ = std::make_unique<Expected>(directory / "expected.safetensors");
    ASSERT_GT(expected_->tokens, 0U);
    ASSERT_EQ(expected_->logits.size(), expected_->ids.size() * model_->config().vocab_size);
  }

  std::size_t expected_tokens() const { return expected_->tokens; }

  // Both sequences together, `step` tokens of each at a time.
  Difference Run(Precision precision, std::size_t step) {
    const model::ModelConfig& config = model_->config();
    const std::size_t tokens = expected_->tokens;
    const std::size_t sequences = expected_->sequences;
    ThreadPool pool(2);
    auto network = Network::Create(pool, *model_, {precision, tokens, SIZE_MAX});
    EXPECT_TRUE(network);
    KvCache cache(config, precision, {config.num_hidden_layers, sequences, tokens});
    Difference difference;
    for (std::size_t first = 0; first < tokens; first += step) {
      Batch batch;
      Matrix<float> hidden(sequences * step, config.hidden_size);
      for (std::size_t s = 0; s < sequences; ++s) {
        batch.push_back({step, first, s});
        const std::span<const std::int32_t> ids(expected_->ids);
        EXPECT_TRUE((*network)->Embed(ids.subspan(s * tokens + first, step),
                                      hidden.view().Rows(s * step, step)));
      }
      EXPECT_TRUE((*network)->RunBlocks(batch, cache, hidden));
      Matrix<float> logits(hidden.rows(), config.vocab_size);
      EXPECT_TRUE((*network)->Logits(hidden.view(), logits));
      for (std::size_t r = 0; r < logits.rows(); ++r) {
        const std::size_t row = r / step * tokens + first + r % step;
        Compare({logits.row(r), logits.cols()}, row, difference);
      }
    }
    const auto count = static_cast<double>(expected_->logits.size());
    difference.rms = std::sqrt(difference.rms / count);
    difference.average = std::sqrt(difference.average / count);
    return difference;
  }

 private:
  void Compare(std::span<const float> logits, std::size_t row, Difference& difference) {
    for (std::size_t v = 0; v < logits.size(); ++v) {
      const auto want = static_cast<double>(expected_->logits[row * logits.size() + v]);
      const double error = static_cast<double>(logits[v]) - want;
      difference.rms += want * want;
      difference.average += error * error;
      difference.largest = std::max(difference.largest, std::abs(error));
    }
  }

  std::unique_ptr<checkpoint::ModelDirectory> model_;
  std::unique_ptr<Expected> expected_;
};

// Both sides compute in fp32, sums in different order: errors of 2^-24 times the square root of
// some hundred terms, over 2 blocks with sharp attention. A wrong position, window or bias shows as
// 1e-2 and more.
constexpr double kF32Relative = 3e-5;

TEST_P(ForwardGolden, WholeSequencesInF32) {
  const Difference difference = Run(Precision::kF32, expected_tokens());
  EXPECT_LT(difference.largest, kF32Relative * difference.rms);
}

TEST_P(ForwardGolden, TokenByTokenInF32) {
  const Difference difference = Run(Precision::kF32, 1);
  EXPECT_LT(difference.largest, kF32Relative * difference.rms);
}

TEST_P(ForwardGolden, InPiecesOfFourInF32) {
  const Difference difference = Run(Precision::kF32, 4);
  EXPECT_LT(difference.largest, kF32Relative * difference.rms);
}

TEST_P(ForwardGolden, InBF16) {
  if (!math::HasFastBF16()) GTEST_SKIP() << "this CPU has no bf16 instructions";
  // Weights that are not bf16 are rounded too: 2 x 12 tensors' worth of errors of .58 x 2^-9 on
  // average, independent, amplified a few times by sharp attention.
  const double relative = 5 * std::sqrt(24.0) * 0.58 * 0x1p-9;
  for (std::size_t step : {expected_tokens(), std::size_t{1}}) {
    const Difference difference = Run(Precision::kBF16, step);
    EXPECT_LT(difference.average, relative * difference.rms) << step;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, ForwardGolden,
                         ::testing::Values("llama", "llama_sharded", "llama_wide", "llama_gqa_tied",
                                           "llama3_rope", "llama_linear_rope", "llama_bias",
                                           "mistral", "mistral_nowindow", "qwen2", "qwen2_window",
                                           "qwen3", "llama_llm_compressor", "llama_gptqmodel"),
                         [](const auto& each) { return each.param; });

}  // namespace
}  // namespace awq::transformer
