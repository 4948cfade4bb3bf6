// What is done to blocks after their sites, seen from whole (tiny) models that are read back.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <vector>

#include "base/error.h"
#include "checkpoint/reader.h"
#include "pipeline/compare.h"
#include "pipeline/quantize.h"
#include "testing/paths.h"
#include "transformer/network.h"

namespace awq {
namespace {

namespace fs = std::filesystem;
using checkpoint::ModelDirectory;

constexpr std::size_t kWindows = 9;  // enough that the last is held out
constexpr std::size_t kTokens = 24;  // of each

Matrix<std::int32_t> SomeTokens(std::size_t vocab) {
  Matrix<std::int32_t> tokens(kWindows, kTokens);
  std::uint64_t state = 54321;
  for (std::int32_t& token : tokens.span()) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    token = static_cast<std::int32_t>((state >> 33) % vocab);
  }
  return tokens;
}

Result<pipeline::QuantizeReport> QuantizeFixture(const fs::path& model_path, const fs::path& output,
                                                 const pipeline::Method* method) {
  ThreadPool pool(2);
  AWQ_ASSIGN(const auto model, ModelDirectory::Open(model_path));
  pipeline::QuantizeOptions options;
  options.method = method;
  options.output = output;
  options.plan.group_size = 16;
  return pipeline::Quantize(pool, *model, SomeTokens(model->config().vocab_size), options);
}

// What the first `blocks` blocks make of the windows, one after another.
Matrix<float> HiddenAfter(const fs::path& path, std::size_t blocks) {
  ThreadPool pool(2);
  const auto model = ModelDirectory::Open(path).value();
  const auto network = transformer::Network::Create(
                           pool, *model, {.precision = math::Precision::kF32, .positions = kTokens})
                           .value();
  const Matrix<std::int32_t> tokens = SomeTokens(model->config().vocab_size);
  Matrix<float> hidden(tokens.size(), model->config().hidden_size);
  EXPECT_TRUE(network->Embed(tokens.span(), hidden).ok());
  std::vector<transformer::Batch> batches;
  for (std::size_t w = 0; w < kWindows; ++w) {
    batches.push_back({{.tokens = kTokens, .position = 0, .slot = 0}});
  }
  transformer::KvCache cache(model->config(), math::Precision::kF32,
                             {.layers = 1, .slots = 1, .capacity_tokens = kTokens});
  for (std::size_t layer = 0; layer < blocks; ++layer) {
    EXPECT_TRUE(network->RunBlock(layer, batches, cache, hidden).ok());
  }
  return hidden;
}

// Mean over tokens [first, all) of |a - b|^2 / |b|^2.
double RelativeError(const Matrix<float>& a, const Matrix<float>& b, std::size_t first) {
  double sum = 0;
  for (std::size_t t = first; t < a.rows(); ++t) {
    double missing = 0;
    double square = 0;
    for (std::size_t c = 0; c < a.cols(); ++c) {
      missing += std::pow(static_cast<double>(a(t, c)) - static_cast<double>(b(t, c)), 2);
      square += std::pow(static_cast<double>(b(t, c)), 2);
    }
    sum += missing / square;
  }
  return sum / static_cast<double>(a.rows() - first);
}

// The report's error of the first block, before and after, is that of the models as they are read
// back: awq-plus ends where polishing begins.
TEST(Refinement, PolishingTakesTheBlockFromWhatItWasToWhatIsStored) {
  const fs::path model = testing::GoldenDir() / "models" / "llama";
  testing::TemporaryDirectory scratch;
  const auto run = [&](const char* name) {
    return QuantizeFixture(model, scratch.path() / name, pipeline::FindMethod(name));
  };
  ASSERT_TRUE(run("awq-plus").ok());
  const auto report = run("awq-plus-polish");
  ASSERT_TRUE(report.ok()) << report.error().message;
  const std::size_t first = (kWindows - 1) * kTokens;
  const Matrix<float> target = HiddenAfter(model, 1);
  const auto error = [&](const char* name) {
    return RelativeError(HiddenAfter(scratch.path() / name, 1), target, first);
  };
  ASSERT_TRUE(report->blocks[0].polish.has_value());
  const pipeline::PolishResult& polish = *report->blocks[0].polish;
  // The embedding that is read back was rounded to fp16: 2^-11 of the states, beside errors that
  // are sqrt(before) of them.
  const double rounding = 2 * 0x1p-11 * std::sqrt(polish.before);
  EXPECT_NEAR(polish.before, error("awq-plus"), rounding);
  EXPECT_NEAR(polish.after, error("awq-plus-polish"), rounding);
  EXPECT_LT(polish.after, polish.before);
  EXPECT_LT(error("awq-plus-polish"), error("awq-plus"));
}

// Remembers the share that was done, and whether it ever fell.
class Watch final : public ProgressSink {
 public:
  void Update(const ProgressEvent& event) override {
    if (event.total == 0) return;
    went_back_ |= event.done < done_ || event.done > event.total || event.total < total_;
    done_ = event.done;
    total_ = event.total;
    ++updates_;
  }
  bool went_back() const { return went_back_; }
  bool finished() const { return done_ == total_; }
  std::size_t updates() const { return updates_; }

 private:
  bool went_back_ = false;
  std::uint64_t done_ = 0;
  std::uint64_t total_ = 0;
  std::size_t updates_ = 0;
};

TEST(Refinement, ProgressOfTwoPolishedRowsNeverGoesBack) {
  ThreadPool pool(2);
  const auto model = ModelDirectory::Open(testing::GoldenDir() / "models" / "llama").value();
  Watch watch;
  pipeline::CompareOptions options;
  options.progress = &watch;
  for (const int bits : {4, 3}) {
    pipeline::Contender& contender = options.contenders.emplace_back();
    contender.method = pipeline::FindMethod("awq-plus-polish");
    contender.plan.bits = bits;
    contender.plan.group_size = 16;
  }
  const Matrix<std::int32_t> tokens = SomeTokens(model->config().vocab_size);
  const auto compared = pipeline::Compare(pool, *model, tokens, {}, options);
  ASSERT_TRUE(compared.ok()) << compared.error().message;
  EXPECT_FALSE(watch.went_back());
  EXPECT_TRUE(watch.finished());
  // At least once an epoch, of each row and block.
  EXPECT_GT(watch.updates(), 2 * 2 * options.contenders[0].method->polish.epochs);
}

// The final norm that is stored is the original's times sum(x q) / sum(q^2), channel by channel.
TEST(Refinement, TheFinalNormIsRefitted) {
  const fs::path path = testing::GoldenDir() / "models" / "llama";
  testing::TemporaryDirectory scratch;
  const fs::path output = scratch.path() / "out";
  ASSERT_TRUE(QuantizeFixture(path, output, pipeline::FindMethod("awq-plus")).ok());
  const auto original = ModelDirectory::Open(path).value();
  const auto quantized = ModelDirectory::Open(output).value();
  const std::vector<float> before = transformer::ToFloats(original->FinalNorm().value());
  const std::vector<float> after = transformer::ToFloats(quantized->FinalNorm().value());
  const std::size_t blocks = original->config().num_hidden_layers;
  const Matrix<float> x = HiddenAfter(path, blocks);
  const Matrix<float> q = HiddenAfter(output, blocks);
  const auto inverse_rms = [&](const Matrix<float>& states, std::size_t t) {
    double square = 0;
    for (std::size_t c = 0; c < states.cols(); ++c) square += std::pow(double{states(t, c)}, 2);
    return 1 /
           std::sqrt(square / static_cast<double>(states.cols()) + original->config().rms_norm_eps);
  };
  std::size_t changed = 0;
  for (std::size_t c = 0; c < before.size(); ++c) {
    double products = 0;
    double squares = 0;
    for (std::size_t t = 0; t < x.rows(); ++t) {
      const double q_normed = double{q(t, c)} * inverse_rms(q, t);
      products += double{x(t, c)} * inverse_rms(x, t) * q_normed;
      squares += q_normed * q_normed;
    }
    const double expected = double{before[c]} * products / squares;
    // fp16's rounding, and fp32 states that were summed in another order.
    EXPECT_NEAR(double{after[c]}, expected, std::fabs(expected) * (0x1p-11 + 1e-4)) << c;
    changed += std::fabs(after[c] - before[c]) > std::fabs(before[c]) * 0x1p-10F;
  }
  EXPECT_GT(changed, before.size() / 2);
}

}  // namespace
}  // namespace awq
