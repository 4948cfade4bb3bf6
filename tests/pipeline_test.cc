// The main job on whole (tiny) models: quantize, read back, continue an interrupted run.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "checkpoint/reader.h"
#include "io/file.h"
#include "io/json.h"
#include "math/vector.h"
#include "pipeline/fold.h"
#include "pipeline/quantize.h"
#include "search/awq.h"
#include "testing/paths.h"
#include "transformer/network.h"

namespace awq {
namespace {

namespace fs = std::filesystem;
using checkpoint::ModelDirectory;
using model::Role;

// Tokens without a pattern, the same in every run.
Matrix<std::int32_t> SomeTokens(std::size_t sequences, std::size_t length, std::size_t vocab) {
  Matrix<std::int32_t> tokens(sequences, length);
  std::uint64_t state = 12345;
  for (std::int32_t& token : tokens.span()) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    token = static_cast<std::int32_t>((state >> 33) % vocab);
  }
  return tokens;
}

struct Settings {
  std::size_t threads = 2;
  math::Precision precision = math::Precision::kF32;
  ProgressSink* progress = nullptr;
};

Result<pipeline::QuantizeReport> QuantizeFixture(const fs::path& model_path, const fs::path& output,
                                                 const pipeline::Method* method,
                                                 const Settings& settings = {}) {
  ThreadPool pool(settings.threads);
  auto model = ModelDirectory::Open(model_path);
  if (!model) return model.error();
  pipeline::QuantizeOptions options;
  options.method = method;
  options.output = output;
  options.plan.group_size = 16;
  options.precision = settings.precision;
  options.progress = settings.progress;
  return pipeline::Quantize(pool, **model, SomeTokens(6, 24, (*model)->config().vocab_size),
                            options);
}

std::map<std::string, std::string> FilesOf(const fs::path& directory) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::directory_iterator(directory)) {
    if (entry.path().filename() == "quantization_report.json") continue;  // holds times
    files[entry.path().filename().string()] = io::ReadFile(entry.path()).value();
  }
  return files;
}

class EveryFixture : public ::testing::TestWithParam<const char*> {
 protected:
  fs::path model() const { return testing::GoldenDir() / "models" / GetParam(); }
  testing::TemporaryDirectory scratch_;
};

TEST_P(EveryFixture, OutputReadsBackAndStaysCloseToTheOriginal) {
  const fs::path output = scratch_.path() / "out";
  const auto report = QuantizeFixture(model(), output, pipeline::FindMethod("awq"));
  ASSERT_TRUE(report.ok()) << report.error().message;
  const auto original = ModelDirectory::Open(model());
  const auto quantized = ModelDirectory::Open(output);
  ASSERT_TRUE(quantized.ok()) << quantized.error().message;
  EXPECT_EQ((*quantized)->quantization()->format->name, "awq-gemm");
  ThreadPool pool(1);
  // k is never clipped and no row of it is folded: its codes are those of W diag(s) rounded, and a
  // code's step bounds the error of each weight.
  for (std::size_t layer = 0; layer < (*original)->config().num_hidden_layers; ++layer) {
    const auto before = (*original)->Block(layer).value();
    const auto after = (*quantized)->Block(layer).value();
    const model::Linear& linear = after.linear(Role::kK);
    ASSERT_TRUE(linear.is_packed());
    const auto codes = linear.packed->Unpack().value();
    const Matrix<float> w =
        pipeline::FoldedWeight(pool, before.linear(Role::kK), Role::kK, pipeline::FoldPlan{});
    const auto norm_before = before.norm(Role::kAttentionNorm);
    const auto norm_after = after.norm(Role::kAttentionNorm);
    std::vector<float> n0(norm_before->elements());
    std::vector<float> n1(n0.size());
    math::Convert(*norm_before, std::span<float>(n0));
    math::Convert(*norm_after, std::span<float>(n1));
    Matrix<float> dequantized(codes.out_features(), codes.in_features());
    quant::Dequantize(codes, 0, dequantized);
    for (std::size_t r = 0; r < w.rows(); ++r) {
      for (std::size_t c = 0; c < w.cols(); ++c) {
        const float s = n0[c] / n1[c];  // known to fp16's 2^-11
        const float step = codes.scales(r, c / 16);
        // Half a step from rounding, up to half more where zero's own rounding cuts the range's
        // end, and what is not known of s.
        EXPECT_NEAR(dequantized(r, c), w(r, c) * s, step * 1.01F + std::fabs(w(r, c) * s) * 2e-3F)
            << "layer " << layer << " row " << r << " column " << c;
      }
    }
  }
}

TEST_P(EveryFixture, SameBytesForAnyNumberOfThreads) {
  for (const pipeline::Method& method : pipeline::Methods()) {
    if (!method.storable()) continue;
    const std::string name(method.name);
    ASSERT_TRUE(
        QuantizeFixture(model(), scratch_.path() / (name + "1"), &method, {.threads = 1}).ok());
    ASSERT_TRUE(
        QuantizeFixture(model(), scratch_.path() / (name + "3"), &method, {.threads = 3}).ok());
    EXPECT_EQ(FilesOf(scratch_.path() / (name + "1")), FilesOf(scratch_.path() / (name + "3")));
  }
}

// Keeps every input of every site of one block, as rows of doubles.
class Inputs final : public transformer::Observer {
 public:
  void OnInput(Role reader, const kernels::Activations& input) override {
    const MatrixView<const float> rows = input.f32();
    for (std::size_t r = 0; r < rows.rows; ++r) {
      by_site[reader].emplace_back(rows.row(r), rows.row(r) + rows.cols);
    }
  }
  std::map<Role, std::vector<std::vector<double>>> by_site;
};

// The report's figures are of what is stored: read back, with scales that later folds divided.
TEST_P(EveryFixture, WhatIsStoredHasTheErrorsOfTheReport) {
  const fs::path output = scratch_.path() / "out";
  const auto report = QuantizeFixture(model(), output, pipeline::FindMethod("awq-plus"));
  ASSERT_TRUE(report.ok()) << report.error().message;
  const auto original = ModelDirectory::Open(model()).value();
  const auto quantized = ModelDirectory::Open(output).value();
  const model::ModelConfig& config = original->config();
  ThreadPool pool(1);
  const Matrix<std::int32_t> tokens = SomeTokens(6, 24, config.vocab_size);
  const auto inputs_of = [&](const ModelDirectory& source) {
    auto network = transformer::Network::Create(pool, source, {.positions = 24}).value();
    transformer::KvCache cache(config, math::Precision::kF32,
                               {.layers = 1, .slots = 1, .capacity_tokens = 24});
    Matrix<float> hidden(tokens.size(), config.hidden_size);
    EXPECT_TRUE(network->Embed(tokens.span(), hidden).ok());
    const std::vector<transformer::Batch> batches(6, {{.tokens = 24, .position = 0, .slot = 0}});
    Inputs inputs;
    EXPECT_TRUE(network->RunBlock(0, batches, cache, hidden, &inputs).ok());
    return inputs.by_site;
  };
  const auto before = inputs_of(*original);
  const auto after = inputs_of(*quantized);
  const model::BlockWeights weights = original->Block(0).value();
  const model::BlockWeights written = quantized->Block(0).value();
  for (const model::SiteRow& site : config.arch->sites) {
    for (Role reader : site.readers) {
      const Matrix<float> w = pipeline::FoldedWeight(pool, weights.linear(reader), reader, {});
      const auto codes = written.linear(reader).packed->Unpack().value();
      Matrix<float> q(w.rows(), w.cols());
      quant::Dequantize(codes, 0, q);
      const auto& y = before.at(site.readers.front());
      const auto& x = after.at(site.readers.front());
      // v's and up's rows are divided by what o and down take: by which number, is fitted.
      const bool divided = reader == Role::kV || reader == Role::kUp;
      double error = 0;
      double energy = 0;
      for (std::size_t r = 0; r < w.rows(); ++r) {
        double want_want = 0;
        double want_got = 0;
        double got_got = 0;
        for (std::size_t t = 0; t < x.size(); ++t) {
          double want = 0;
          double got = 0;
          for (std::size_t i = 0; i < w.cols(); ++i) {
            want += double{w(r, i)} * y[t][i];
            got += double{q(r, i)} * x[t][i];
          }
          want_want += want * want;
          want_got += want * got;
          got_got += got * got;
        }
        const double scale = divided ? want_got / got_got : 1;
        error += want_want - 2 * scale * want_got + scale * scale * got_got;
        energy += want_want;
      }
      const auto& rows = report->blocks[0].linears;
      const auto row = std::ranges::find_if(
          rows, [&](const auto& each) { return each.name == weights.linear(reader).name; });
      ASSERT_NE(row, rows.end());
      ASSERT_TRUE(row->quality.has_value());
      const double reported = row->quality->held_out.chosen / row->quality->energy;
      // Inputs read back have fp16 scales and norms; errors are products of bf16 where there are.
      const double tolerance = 0.02 * error / energy + 1e-6;
      if (divided) {
        // The fit takes one of a row's 32 or more freedoms: 3 % of its error on average, and over
        // 8 or more rows hardly four deviations of 1.6 % more.
        EXPECT_GT(reported, error / energy - tolerance) << row->name;
        EXPECT_LT(reported, 1.1 * error / energy + tolerance) << row->name;
      } else {
        EXPECT_NEAR(reported, error / energy, tolerance) << row->name;
      }
    }
  }
}

// The Gram matrix of x / s, by its definition.
Matrix<float> ScaledGram(const std::vector<std::vector<double>>& x, const std::vector<float>& s) {
  const std::size_t n = x.front().size();
  Matrix<float> gram(n, n);
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j < n; ++j) {
      double sum = 0;
      for (const auto& row : x) sum += row[i] * row[j];
      gram(i, j) = static_cast<float>(sum / static_cast<double>(x.size()) /
                                      (static_cast<double>(s[i]) * static_cast<double>(s[j])));
    }
  }
  return gram;
}

// The first block again, step by step as the paper has it: what the pipeline wrote must be what the
// published search, fold, clip (all but q and k) and rounding give on the block's own inputs.
TEST_P(EveryFixture, TheFirstBlockIsWhatThePaperSays) {
  const fs::path output = scratch_.path() / "out";
  ASSERT_TRUE(QuantizeFixture(model(), output, pipeline::FindMethod("awq")).ok());
  const auto original = ModelDirectory::Open(model()).value();
  const auto quantized = ModelDirectory::Open(output).value();
  const model::ModelConfig& config = original->config();
  ThreadPool pool(1);
  const Matrix<std::int32_t> tokens = SomeTokens(6, 24, config.vocab_size);
  auto network = transformer::Network::Create(pool, *original, {.positions = 24}).value();
  transformer::KvCache cache(config, math::Precision::kF32,
                             {.layers = 1, .slots = 1, .capacity_tokens = 24});
  Matrix<float> hidden(tokens.size(), config.hidden_size);
  ASSERT_TRUE(network->Embed(tokens.span(), hidden).ok());
  const std::vector<transformer::Batch> batches(6, {{.tokens = 24, .position = 0, .slot = 0}});
  Inputs inputs;
  ASSERT_TRUE(network->RunBlock(0, batches, cache, hidden, &inputs).ok());

  const model::BlockWeights weights = original->Block(0).value();
  const quant::Spec spec{.bits = 4, .group_size = 16, .symmetric = false};
  std::map<Role, std::vector<float>> columns;
  std::map<Role, std::vector<float>> rows;
  std::map<Role, Matrix<float>> grams;
  for (const model::SiteRow& site : config.arch->sites) {
    const auto& x = inputs.by_site.at(site.readers.front());
    const std::size_t n = x.front().size();
    std::vector<float> scale(n, 1.0F);
    if (pipeline::FoldObstacle(config, site).empty()) {
      search::SiteStatistics statistics;
      statistics.tokens = x.size();
      statistics.gram = ScaledGram(x, scale);
      statistics.mean_abs.assign(n, 0);
      for (std::size_t i = 0; i < n; ++i) {
        double sum = 0;
        for (const auto& row : x) sum += std::fabs(row[i]);
        statistics.mean_abs[i] = static_cast<float>(sum / static_cast<double>(x.size()));
      }
      std::vector<Matrix<float>> site_weights;
      std::vector<MatrixView<const float>> views;
      for (Role reader : site.readers) {
        site_weights.push_back(pipeline::FoldedWeight(pool, weights.linear(reader), reader, {}));
      }
      for (const Matrix<float>& each : site_weights) views.push_back(each.view());
      scale = search::SearchScale(pool, views, statistics, spec).scale;
      rows[site.producer] = scale;
    }
    for (Role reader : site.readers) {
      columns[reader] = scale;
      grams[reader] = ScaledGram(x, scale);
    }
  }
  std::size_t differing = 0;
  std::size_t total = 0;
  const model::BlockWeights written = quantized->Block(0).value();
  for (const model::LinearRow& row : config.arch->linears) {
    Matrix<float> w = pipeline::FoldedWeight(pool, weights.linear(row.role), row.role, {});
    for (std::size_t r = 0; r < w.rows(); ++r) {
      for (std::size_t c = 0; c < w.cols(); ++c) {
        w(r, c) *= columns.at(row.role)[c];
        if (rows.contains(row.role)) w(r, c) /= rows.at(row.role)[r];
      }
    }
    const bool clipped = row.role != Role::kQ && row.role != Role::kK;
    const search::Clip clip = search::SearchClip(pool, w, grams.at(row.role), spec);
    const auto expected = search::Round(pool, w, spec, clipped ? &clip : nullptr);
    const auto found = written.linear(row.role).packed->Unpack().value();
    for (std::size_t i = 0; i < expected.codes.size(); ++i) {
      differing += static_cast<std::size_t>(expected.codes.data()[i] != found.codes.data()[i]);
    }
    total += expected.codes.size();
  }
  // Only the summation order of the Gram matrix differs (fp32 against double): a near tie between
  // two clips may fall the other way, in at most one group of a hundred.
  EXPECT_LE(differing * 100, total);
}

// Ends the run, as a crash would, once `after` tokens have been reported.
class Interrupt : public ProgressSink {
 public:
  explicit Interrupt(std::uint64_t after) : after_(after) {}
  void Update(const ProgressEvent& event) override {
    if (event.done >= after_) throw std::runtime_error("interrupted");
  }

 private:
  std::uint64_t after_;
};

TEST_P(EveryFixture, AnInterruptedRunContinuesToTheSameBytes) {
  for (const char* name : {"awq", "gptq", "awq-plus", "awq-plus-polish"}) {
    const pipeline::Method* method = pipeline::FindMethod(name);
    testing::TemporaryDirectory scratch;
    const auto whole = QuantizeFixture(model(), scratch.path() / "whole", method);
    ASSERT_TRUE(whole.ok()) << whole.error().message;
    // Inside the second of two blocks, which take five passes each, and three for every epoch.
    const std::size_t passes = 5 + 3 * method->polish.epochs;
    Interrupt interrupt(passes * 6 * 24 + 6 * 24 + 1);
    EXPECT_THROW(static_cast<void>(QuantizeFixture(model(), scratch.path() / "parts", method,
                                                   {.progress = &interrupt})),
                 std::runtime_error);
    EXPECT_FALSE(fs::exists(scratch.path() / "parts"));
    const auto rest = QuantizeFixture(model(), scratch.path() / "parts", method);
    ASSERT_TRUE(rest.ok()) << rest.error().message;
    EXPECT_EQ(rest->resumed_blocks, 1U);
    EXPECT_EQ(FilesOf(scratch.path() / "whole"), FilesOf(scratch.path() / "parts")) << name;
    ASSERT_EQ(rest->blocks.size(), whole->blocks.size());
    for (std::size_t block = 0; block < rest->blocks.size(); ++block) {
      nlohmann::json one = pipeline::ToJson(rest->blocks[block]);
      nlohmann::json other = pipeline::ToJson(whole->blocks[block]);
      for (nlohmann::json* each : {&one, &other}) {
        for (auto& site : (*each)["sites"]) site.erase("seconds");
        for (auto& linear : (*each)["linears"]) linear.erase("seconds");
      }
      EXPECT_EQ(one, other) << name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, EveryFixture,
                         ::testing::Values("llama", "llama_gqa_tied", "llama3_rope", "llama_bias",
                                           "llama_sharded", "llama_wide", "mistral", "qwen2",
                                           "qwen2_window", "qwen3"),
                         [](const auto& which) { return std::string(which.param); });

// gptq judges nothing by held-out tokens: what stands in the window that is held out of nine cannot
// change its codes, what stands in any other does.
TEST(Pipeline, HeldOutTokensAreInNoStatistic) {
  const fs::path path = testing::GoldenDir() / "models" / "llama";
  testing::TemporaryDirectory scratch;
  const auto quantize = [&](const std::string& name, std::size_t changed_window) {
    ThreadPool pool(2);
    const auto model = ModelDirectory::Open(path).value();
    const auto vocab = static_cast<std::int32_t>(model->config().vocab_size);
    Matrix<std::int32_t> tokens = SomeTokens(9, 24, model->config().vocab_size);
    for (std::size_t t = 0; changed_window < 9 && t < 24; ++t) {
      tokens(changed_window, t) = (tokens(changed_window, t) + 7) % vocab;
    }
    pipeline::QuantizeOptions options;
    options.method = pipeline::FindMethod("gptq");
    options.output = scratch.path() / name;
    options.plan.group_size = 16;
    const auto report = pipeline::Quantize(pool, *model, tokens, options);
    EXPECT_TRUE(report.ok());
    EXPECT_EQ(report->held_out_tokens, 24U);
    return FilesOf(scratch.path() / name);
  };
  const auto as_it_is = quantize("a", 9);
  EXPECT_EQ(quantize("b", 8), as_it_is);
  EXPECT_NE(quantize("c", 7), as_it_is);
}

TEST(Pipeline, MethodsLoseLessThanRoundToNearest) {
  for (const char* fixture : {"llama", "llama_wide"}) {
    for (const char* name : {"awq", "gptq", "awq-plus"}) {
      for (const auto precision : {math::Precision::kF32, math::Precision::kBF16}) {
        SCOPED_TRACE(fmt::format("{} {} {}", fixture, name, static_cast<int>(precision)));
        testing::TemporaryDirectory scratch;
        const auto report =
            QuantizeFixture(testing::GoldenDir() / "models" / fixture, scratch.path() / "out",
                            pipeline::FindMethod(name), {.precision = precision});
        ASSERT_TRUE(report.ok()) << report.error().message;
        const pipeline::ReportTotals totals = pipeline::TotalsOf(report->blocks);
        EXPECT_LT(totals.held_out_relative_error, totals.held_out_rtn_relative_error);
        if (std::string_view(name) != "awq-plus") continue;
        for (const pipeline::BlockReport& block : report->blocks) {
          for (const pipeline::LinearReport& linear : block.linears) {
            EXPECT_LE(linear.quality->held_out.chosen, linear.quality->held_out.rtn) << linear.name;
            // down's target has caught up with what was lost before it.
            const bool is_down = linear.name.ends_with("down_proj");
            EXPECT_TRUE(!is_down || linear.correction > 0) << linear.name;
          }
        }
      }
    }
  }
}

TEST(Pipeline, ARunOnChangedWeightsStartsAfresh) {
  testing::TemporaryDirectory scratch;
  const fs::path model = scratch.path() / "model";
  fs::copy(testing::GoldenDir() / "models" / "llama", model);
  Interrupt interrupt(6 * 24 + 6 * 24 / 4 + 1);
  EXPECT_THROW(
      static_cast<void>(QuantizeFixture(model, scratch.path() / "out", pipeline::FindMethod("awq"),
                                        {.progress = &interrupt})),
      std::runtime_error);
  const fs::path weights = model / "model.safetensors";
  fs::last_write_time(weights, fs::last_write_time(weights) + std::chrono::seconds(5));
  const auto report = QuantizeFixture(model, scratch.path() / "out", pipeline::FindMethod("awq"));
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_EQ(report->resumed_blocks, 0U);
}

// NaN anywhere is named before anything is computed.
TEST(Pipeline, DamagedWeightsAreNamed) {
  testing::TemporaryDirectory scratch;
  const fs::path model = scratch.path() / "model";
  fs::copy(testing::GoldenDir() / "models" / "llama", model);
  std::string file = io::ReadFile(model / "model.safetensors").value();
  const auto directory = ModelDirectory::Open(model);
  ASSERT_TRUE(directory.ok());
  const auto norm = (*directory)->FinalNorm().value();
  ASSERT_EQ(norm.dtype, DType::kF32);
  const std::string bytes(reinterpret_cast<const char*>(norm.bytes.data()), norm.bytes.size());
  const std::size_t at = file.find(bytes);
  ASSERT_NE(at, std::string::npos);
  file.replace(at + 4, 4, std::string("\x00\x00\xc0\x7f", 4));
  std::ofstream(model / "model.safetensors", std::ios::binary) << file;
  const auto report = QuantizeFixture(model, scratch.path() / "out", pipeline::FindMethod("awq"));
  ASSERT_FALSE(report.ok());
  EXPECT_NE(report.error().message.find("model.norm.weight: element 1 is infinite or NaN"),
            std::string::npos)
      << report.error().message;
}

std::string NameOf(const model::ArchSpec& arch, model::Role role) {
  for (const model::LinearRow& row : arch.linears) {
    if (row.role == role) return std::string(row.name);
  }
  for (const model::NormRow& row : arch.norms) {
    if (row.role == role) return std::string(row.name);
  }
  return "?";
}

// A fold whose producer gives its rows wrongly must be caught and named, also in an ordinary
// channel beside an outlier that is 100,000 times larger.
TEST(Pipeline, AWrongFoldIsNamed) {
  ThreadPool pool(2);
  const auto model = ModelDirectory::Open(testing::GoldenDir() / "models" / "llama");
  ASSERT_TRUE(model.ok());
  const auto& config = (*model)->config();
  const auto weights = (*model)->Block(0).value();
  for (const float outlier : {1.0F, 1e5F}) {
    Matrix<float> sample(8, config.hidden_size);
    for (std::size_t i = 0; i < sample.size(); ++i) {
      sample.data()[i] = std::sin(static_cast<float>(i) * 0.37F);
    }
    for (std::size_t t = 0; t < sample.rows(); ++t) sample(t, 0) *= outlier;
    for (const model::SiteRow& site : config.arch->sites) {
      SCOPED_TRACE(std::string(site.name) + ", outlier " + std::to_string(outlier));
      std::size_t in = 0;
      for (const model::LinearRow& row : config.arch->linears) {
        if (row.role == site.readers.front()) in = model::Width(config, row.in);
      }
      std::vector<float> scale(in, 1.0F);
      scale[in / 2] = 1.25F;
      pipeline::FoldPlan right;
      right.Add(site, scale);
      const auto held = pipeline::VerifyFold(pool, config, 0, weights, right, sample);
      ASSERT_TRUE(held.ok()) << held.error().message;
      pipeline::FoldPlan forgotten_reader = right;
      forgotten_reader.columns[static_cast<std::size_t>(site.readers.back())].clear();
      pipeline::FoldPlan wrong_row = right;
      std::swap(wrong_row.rows[static_cast<std::size_t>(site.producer)][in / 2],
                wrong_row.rows[static_cast<std::size_t>(site.producer)][1]);
      const auto says = [&](const pipeline::FoldPlan& wrong, model::Role role) {
        const auto status = pipeline::VerifyFold(pool, config, 0, weights, wrong, sample);
        ASSERT_FALSE(status.ok());
        const std::string& message = status.error().message;
        EXPECT_NE(message.find(NameOf(*config.arch, site.producer)), std::string::npos) << message;
        EXPECT_NE(message.find(NameOf(*config.arch, role)), std::string::npos) << message;
      };
      says(forgotten_reader, site.readers.back());
      says(wrong_row, site.readers.front());
    }
  }
}

// An architecture table that lacks a reader gives plans that are right by its own lights: only the
// network's arithmetic shows it, at the next site.
TEST(Pipeline, AMissingRowOfTheTableIsFound) {
  ThreadPool pool(2);
  const auto model = ModelDirectory::Open(testing::GoldenDir() / "models" / "llama");
  ASSERT_TRUE(model.ok());
  model::ModelConfig config = (*model)->config();
  model::ArchSpec arch = *config.arch;
  std::vector<model::SiteRow> sites(arch.sites.begin(), arch.sites.end());
  sites[0].readers = sites[0].readers.first(sites[0].readers.size() - 1);  // qkv without v
  arch.sites = sites;
  config.arch = &arch;
  const auto weights = (*model)->Block(0).value();
  std::vector<float> scale(config.hidden_size, 1.0F);
  scale[3] = 1.25F;
  pipeline::FoldPlan plan;
  plan.Add(sites[0], scale);
  Matrix<float> sample(8, config.hidden_size);
  for (std::size_t i = 0; i < sample.size(); ++i) {
    sample.data()[i] = std::sin(static_cast<float>(i) * 0.37F);
  }
  const auto status = pipeline::VerifyFold(pool, config, 0, weights, plan, sample);
  ASSERT_FALSE(status.ok());
  EXPECT_NE(status.error().message.find("among the sites qkv, o"), std::string::npos)
      << status.error().message;
}

TEST(Pipeline, RefusesWhatItCannotDo) {
  testing::TemporaryDirectory scratch;
  const fs::path model = testing::GoldenDir() / "models" / "llama";
  ASSERT_TRUE(QuantizeFixture(model, scratch.path() / "out", pipeline::FindMethod("rtn")).ok());
  const auto exists = QuantizeFixture(model, scratch.path() / "out", pipeline::FindMethod("rtn"));
  ASSERT_FALSE(exists.ok());
  EXPECT_NE(exists.error().message.find((scratch.path() / "out").string()), std::string::npos);
  const auto twice = QuantizeFixture(scratch.path() / "out", scratch.path() / "twice",
                                     pipeline::FindMethod("rtn"));
  ASSERT_FALSE(twice.ok());
  EXPECT_NE(twice.error().message.find("already quantized"), std::string::npos);
}

}  // namespace
}  // namespace awq
