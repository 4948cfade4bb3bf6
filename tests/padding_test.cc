// Models whose MLP is filled up with zeros: the same function, before and after quantizing.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "checkpoint/padded_model.h"
#include "checkpoint/reader.h"
#include "checkpoint/tensor_parallel.h"
#include "math/vector.h"
#include "pipeline/fingerprint.h"
#include "pipeline/quantize.h"
#include "pipeline/write_gguf.h"
#include "testing/paths.h"
#include "transformer/network.h"

namespace awq {
namespace {

namespace fs = std::filesystem;
using checkpoint::StoredModel;
using model::Role;

constexpr std::size_t kTokens = 24;
constexpr std::size_t kWide = 128;

Matrix<std::int32_t> SomeTokens(std::size_t sequences, std::size_t vocab) {
  Matrix<std::int32_t> tokens(sequences, kTokens);
  std::uint64_t state = 54321;
  for (std::int32_t& token : tokens.span()) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    token = static_cast<std::int32_t>((state >> 33) % vocab);
  }
  return tokens;
}

std::unique_ptr<StoredModel> Open(const fs::path& path) {
  auto model = checkpoint::OpenModel(path);
  EXPECT_TRUE(model.ok()) << model.error().message;
  return model.ok() ? std::move(*model) : nullptr;
}

fs::path Fixture(const std::string& name) { return testing::GoldenDir() / "models" / name; }

std::unique_ptr<StoredModel> OpenPadded(const fs::path& path) {
  auto padded = checkpoint::PaddedModel::Make(Open(path), kWide);
  EXPECT_TRUE(padded.ok()) << padded.error().message;
  return padded.ok() ? std::move(*padded) : nullptr;
}

Matrix<float> Logits(const StoredModel& model) {
  ThreadPool pool(2);
  const model::ModelConfig& config = model.config();
  auto network = transformer::Network::Create(pool, model, {.positions = kTokens}).value();
  transformer::KvCache cache(
      config, network->precision(),
      {.layers = config.num_hidden_layers, .slots = 1, .capacity_tokens = kTokens});
  const Matrix<std::int32_t> tokens = SomeTokens(1, config.vocab_size);
  Matrix<float> hidden(kTokens, config.hidden_size);
  EXPECT_TRUE(network->Embed(tokens.span(), hidden).ok());
  EXPECT_TRUE(
      network->RunBlocks({{.tokens = kTokens, .position = 0, .slot = 0}}, cache, hidden).ok());
  Matrix<float> logits(kTokens, config.vocab_size);
  EXPECT_TRUE(network->Logits(hidden.view(), logits));
  return logits;
}

// Zeros add nothing, but the sums of down may be grouped otherwise: 2^-24 of each of at most 128
// terms, in two layers, and the cancellation of the residual, for which fold.cc takes 2^9.
void ExpectSameFunction(const StoredModel& a, const StoredModel& b) {
  const Matrix<float> x = Logits(a);
  const Matrix<float> y = Logits(b);
  ASSERT_EQ(x.size(), y.size());
  double difference = 0;
  double energy = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    difference += std::pow(static_cast<double>(x.span()[i]) - static_cast<double>(y.span()[i]), 2);
    energy += std::pow(static_cast<double>(x.span()[i]), 2);
  }
  EXPECT_GT(energy, 0);
  EXPECT_LE(std::sqrt(difference / energy), 0x1p-24 * 512);
}

Result<pipeline::QuantizeReport> Quantize(const StoredModel& model, const fs::path& output,
                                          const char* method, std::size_t group_size,
                                          bool symmetric = false) {
  ThreadPool pool(2);
  pipeline::QuantizeOptions options;
  options.method = pipeline::FindMethod(method);
  options.output = output;
  options.plan.group_size = group_size;
  options.plan.symmetric = symmetric;
  return pipeline::Quantize(pool, model, SomeTokens(6, model.config().vocab_size), options);
}

Matrix<float> Weights(const model::Linear& linear) {
  Matrix<float> weights(linear.out_features, linear.in_features);
  if (linear.is_packed()) {
    quant::Dequantize(linear.packed->Unpack().value(), 0, weights);
  } else {
    math::Convert(linear.weight, weights.span());
  }
  return weights;
}

// Every weight and bias beyond the original's is 0, as it is dequantized.
void ExpectZerosBeyond(const StoredModel& model, std::size_t intermediate) {
  for (std::size_t layer = 0; layer < model.config().num_hidden_layers; ++layer) {
    const auto block = model.Block(layer);
    ASSERT_TRUE(block.ok()) << block.error().message;
    for (const Role role : {Role::kGate, Role::kUp, Role::kDown}) {
      const model::Linear& linear = block->linear(role);
      const Matrix<float> weights = Weights(linear);
      const bool is_down = role == Role::kDown;
      EXPECT_EQ(is_down ? weights.cols() : weights.rows(), kWide);
      for (std::size_t r = is_down ? 0 : intermediate; r < weights.rows(); ++r) {
        for (std::size_t c = is_down ? intermediate : 0; c < weights.cols(); ++c) {
          ASSERT_EQ(weights(r, c), 0) << linear.name << " " << r << " " << c;
        }
      }
      if (!linear.bias || is_down) continue;
      std::vector<float> bias(linear.bias->elements());
      math::Convert(*linear.bias, std::span<float>(bias));
      ASSERT_EQ(bias.size(), kWide);
      for (std::size_t i = intermediate; i < kWide; ++i) EXPECT_EQ(bias[i], 0);
    }
  }
}

struct PaddedCase {
  const char* model;
  std::size_t group_size;
};

class Padding : public ::testing::TestWithParam<PaddedCase> {
 protected:
  fs::path path() const { return Fixture(GetParam().model); }
  std::size_t group_size() const { return GetParam().group_size; }
  testing::TemporaryDirectory scratch_;
};

TEST_P(Padding, ChangesNoOutput) {
  const auto model = Open(path());
  const auto padded = OpenPadded(path());
  ASSERT_TRUE(model && padded);
  EXPECT_EQ(padded->config().intermediate_size, kWide);
  EXPECT_EQ(nlohmann::json::parse(padded->SmallFile("config.json").value().value())
                .at("intermediate_size"),
            kWide);
  ExpectZerosBeyond(*padded, model->config().intermediate_size);
  ExpectSameFunction(*model, *padded);
  EXPECT_NE(pipeline::ModelFingerprint(*model).value(),
            pipeline::ModelFingerprint(*padded).value());
  const auto block = padded->Block(0).value();
  std::size_t copied = 0;
  for (const Role role : {Role::kGate, Role::kUp, Role::kDown}) {
    copied += block.linear(role).memory->size();
  }
  EXPECT_GE(padded->converted_bytes(), copied);
}

// Rounded to nearest a group stands for itself: the codes are those without padding.
TEST_P(Padding, RoundingIsThatOfTheModelItself) {
  const auto model = Open(path());
  ASSERT_TRUE(Quantize(*model, scratch_.path() / "narrow", "rtn", group_size()).ok());
  ASSERT_TRUE(Quantize(*OpenPadded(path()), scratch_.path() / "wide", "rtn", group_size()).ok());
  const auto narrow = Open(scratch_.path() / "narrow");
  const auto wide = Open(scratch_.path() / "wide");
  ASSERT_TRUE(narrow && wide);
  EXPECT_EQ(wide->config().intermediate_size, kWide);
  for (std::size_t layer = 0; layer < 2; ++layer) {
    const auto a = narrow->Block(layer).value();
    const auto b = wide->Block(layer).value();
    for (const model::LinearRow& row : model->config().arch->linears) {
      const Matrix<float> from = Weights(a.linear(row.role));
      const Matrix<float> to = Weights(b.linear(row.role));
      for (std::size_t r = 0; r < from.rows(); ++r) {
        ASSERT_TRUE(std::equal(from.row(r), from.row(r) + from.cols(), to.row(r))) << row.name;
      }
    }
  }
  ExpectSameFunction(*narrow, *wide);
}

TEST_P(Padding, StaysZeroWhateverTheMethod) {
  const std::size_t intermediate = Open(path())->config().intermediate_size;
  for (const pipeline::Method& method : pipeline::Methods()) {
    if (!method.storable()) continue;
    for (const bool symmetric : {false, true}) {
      const fs::path output =
          scratch_.path() / (std::string(method.name) + (symmetric ? "-symmetric" : ""));
      const auto report = Quantize(*OpenPadded(path()), output, std::string(method.name).c_str(),
                                   group_size(), symmetric);
      ASSERT_TRUE(report.ok()) << method.name << ": " << report.error().message;
      const auto quantized = Open(output);
      ASSERT_TRUE(quantized) << method.name;
      EXPECT_TRUE(quantized->Block(0)->linear(Role::kDown).is_packed());
      ExpectZerosBeyond(*quantized, intermediate);
      if (HasFailure()) FAIL() << method.name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Padding,
                         ::testing::Values(PaddedCase{"llama", 16}, PaddedCase{"llama_bias", 16},
                                           PaddedCase{"llama_gqa_tied", 16},
                                           PaddedCase{"qwen2", 16}, PaddedCase{"llama", 32},
                                           PaddedCase{"llama_gqa_tied", 32}),
                         [](const auto& each) {
                           return std::string(each.param.model) + "_" +
                                  std::to_string(each.param.group_size);
                         });

TEST(PaddedModel, RefusesCodes) {
  const testing::TemporaryDirectory scratch;
  ASSERT_TRUE(Quantize(*Open(Fixture("llama")), scratch.path() / "out", "rtn", 16).ok());
  const auto padded = checkpoint::PaddedModel::Make(Open(scratch.path() / "out"), kWide);
  ASSERT_FALSE(padded.ok());
  EXPECT_NE(padded.error().message.find("already quantized (awq-gemm)"), std::string::npos);
}

std::string ErrorOf(const Result<std::size_t>& result) {
  return result.ok() ? "" : result.error().message;
}

TEST(SharedIntermediateSize, IsTheLeastOfWholeGroupsAndTiles) {
  model::ModelConfig config;
  config.num_attention_heads = 64;
  config.num_key_value_heads = 8;
  config.head_dim = 128;
  config.intermediate_size = 29568;
  const auto size = [&](std::size_t ranks, std::size_t group) {
    return checkpoint::SharedIntermediateSize(config, ranks, group).value();
  };
  EXPECT_EQ(size(1, 128), 29568U);
  EXPECT_EQ(size(2, 128), 29696U);
  EXPECT_EQ(size(8, 128), 29696U);
  EXPECT_EQ(size(16, 128), 30720U);
  EXPECT_EQ(size(2, 64), 29568U);
  EXPECT_EQ(size(4, 32), 29696U) << "groups of 32, but tiles of 64";
  EXPECT_EQ(size(4, 0), 29696U);
  const auto error = [&](std::size_t ranks, std::size_t group) {
    return ErrorOf(checkpoint::SharedIntermediateSize(config, ranks, group));
  };
  EXPECT_NE(error(3, 128).find("64 attention heads and 8 key-value heads"), std::string::npos);
  config.num_attention_heads = 12;
  config.num_key_value_heads = 6;
  EXPECT_NE(error(4, 128).find("no padding can mend that"), std::string::npos);
  config = {};
  config.num_attention_heads = 8;
  config.num_key_value_heads = 8;
  config.head_dim = 64;
  config.intermediate_size = 1024;
  EXPECT_NE(error(8, 128).find("64 inputs, no multiple of the group size 128; no padding can mend "
                               "that, --group-size 64 would"),
            std::string::npos);
  EXPECT_EQ(error(8, 64), "");
  EXPECT_NE(error(8, std::size_t{1} << 40).find("no multiple"), std::string::npos);
}

}  // namespace
}  // namespace awq
