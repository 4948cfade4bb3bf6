// The search on Gram matrices against tools/awq_reference.py, which does it on the tokens in
// float64: synthetic sites bit for bit, real layers up to ties.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "io/json.h"
#include "math/vector.h"
#include "quant/group.h"
#include "search/awq.h"
#include "search/gram_loss.h"
#include "search/scale_search.h"
#include "testing/paths.h"

namespace awq::search {
namespace {

constexpr std::size_t kAlphas = 20;

// A trusted safetensors file, read by hand: the goldens hold F64, which no model may.
class Tensors {
 public:
  explicit Tensors(const std::filesystem::path& path) {
    std::ifstream stream(path, std::ios::binary);
    std::uint64_t header_bytes = 0;
    stream.read(reinterpret_cast<char*>(&header_bytes), sizeof(header_bytes));
    std::string header(header_bytes, ' ');
    stream.read(header.data(), static_cast<std::streamsize>(header_bytes));
    header_ = nlohmann::json::parse(header);
    data_.assign(std::istreambuf_iterator<char>(stream), {});
  }

  template <class T>
  std::vector<T> Values(const std::string& name) const {
    const auto [begin, end] = header_.at(name).at("data_offsets").get<std::pair<size_t, size_t>>();
    std::vector<T> values((end - begin) / sizeof(T));
    std::memcpy(values.data(), data_.data() + begin, end - begin);
    return values;
  }

  // F32 and BF16 tensors
  Matrix<float> Floats(const std::string& name) const {
    const auto shape = header_.at(name).at("shape").get<Shape>();
    Matrix<float> m(shape.size() > 1 ? shape[0] : 1, shape.back());
    if (header_.at(name).at("dtype") == "BF16") {
      math::Convert(Values<BF16>(name), m.span());
    } else {
      std::ranges::copy(Values<float>(name), m.data());
    }
    return m;
  }

 private:
  nlohmann::json header_;
  std::string data_;
};

struct Site {
  quant::Spec spec;
  Matrix<float> x;
  std::vector<Matrix<float>> weights;
  std::vector<MatrixView<const float>> views;
  SiteStatistics statistics;
  std::size_t outputs = 0;  // of all linears

  void Gather(ThreadPool& pool) {
    StatisticsAccumulator accumulator(x.cols());
    accumulator.Add(pool, x);
    statistics = std::move(accumulator).Finish();
    for (const auto& w : weights) {
      views.push_back(w);
      outputs += w.rows();
    }
  }
  Scale Candidate(std::size_t index) const {
    return ActivationScale(statistics.mean_abs,
                           static_cast<double>(index) / static_cast<double>(kAlphas));
  }
};

Matrix<float> ScaledWeights(const Matrix<float>& w, const Scale& s) {
  Matrix<float> scaled(w.rows(), w.cols());
  for (std::size_t r = 0; r < w.rows(); ++r) {
    for (std::size_t i = 0; i < w.cols(); ++i) scaled(r, i) = w(r, i) * s[i];
  }
  return scaled;
}

// What float32 may lose of sum d H d^T for one candidate: each product x_ti x_tj d_i d_j passes at
// most tokens + features + 20 roundings, each 2^-24 of the magnitudes that are added.
double RoundingBound(const Site& site, const Scale& s) {
  const quant::GroupQuantizer quantizer(site.spec);
  std::vector<float> d(s.size());
  double magnitude = 0;
  for (const auto& w : site.views) {
    for (std::size_t r = 0; r < w.rows; ++r) {
      quantizer.ScaledResidual(w.row(r), s.data(), w.cols, d.data());
      for (std::size_t t = 0; t < site.x.rows(); ++t) {
        double sum = 0;
        for (std::size_t i = 0; i < d.size(); ++i) {
          sum += std::abs(static_cast<double>(d[i]) * static_cast<double>(site.x(t, i)));
        }
        magnitude += sum * sum;
      }
    }
  }
  const auto roundings = static_cast<double>(site.x.rows() + site.x.cols() + 20);
  return magnitude / static_cast<double>(site.x.rows()) * roundings * 0x1p-24;
}

class SearchGolden : public ::testing::TestWithParam<const char*> {};

TEST_P(SearchGolden, EqualsTheTokenReference) {
  ThreadPool pool(2);
  const Tensors golden(testing::GoldenDir() / "awq_reference" / "small.safetensors");
  const std::string name = std::string(GetParam()) + ".";
  const auto spec = golden.Values<std::int64_t>(name + "spec");
  Site site;
  site.x = golden.Floats(name + "x");
  site.spec = {static_cast<int>(spec[0]),
               spec[1] < 0 ? site.x.cols() : static_cast<std::size_t>(spec[1]), spec[2] != 0};
  for (std::int64_t k = 0; k < spec[3]; ++k) {
    site.weights.push_back(golden.Floats(name + "w" + std::to_string(k)));
  }
  site.Gather(pool);

  const auto losses = golden.Values<double>(name + "scale_losses");
  ASSERT_EQ(losses.size(), kAlphas);
  for (std::size_t k = 0; k < kAlphas; ++k) {
    const Scale s = site.Candidate(k);
    const double loss = ExactScaleLoss(pool, {site.views, site.spec}, s, site.statistics.gram);
    const auto outputs = static_cast<double>(site.outputs);
    EXPECT_NEAR(loss / outputs, losses[k], RoundingBound(site, s) / outputs) << "alpha " << k;
    EXPECT_NEAR(loss / outputs, losses[k], 1e-4 * losses[k]) << "the bound is not vacuous";
  }
  const ScaleChoice choice = SearchScale(pool, site.views, site.statistics, site.spec);
  EXPECT_EQ(std::lround(choice.alpha * 20), golden.Values<std::int64_t>(name + "best_index")[0]);
  EXPECT_EQ(choice.scale, golden.Values<float>(name + "scale"));

  ScaleStatistics(pool, choice.scale, site.statistics);
  const Matrix<float>& gram = site.statistics.gram;
  for (std::size_t k = 0; k < site.weights.size(); ++k) {
    const std::string index = std::to_string(k);
    const Matrix<float> scaled = ScaledWeights(site.weights[k], choice.scale);
    const Clip clip = SearchClip(pool, scaled, gram, site.spec);
    const auto clip_index = golden.Values<std::uint8_t>(name + "clip_index" + index);
    EXPECT_TRUE(std::ranges::equal(clip.choice.span(), clip_index));
    const quant::QuantizedLinear linear = Round(pool, scaled, site.spec, &clip);
    const auto codes = golden.Values<std::uint8_t>(name + "codes" + index);
    const auto zeros = golden.Values<std::uint8_t>(name + "zeros" + index);
    EXPECT_TRUE(std::ranges::equal(linear.codes.span(), codes));
    EXPECT_TRUE(std::ranges::equal(linear.zeros.span(), zeros));
    const auto scales = golden.Values<float>(name + "scales" + index);
    EXPECT_TRUE(std::ranges::equal(linear.scales.span(), scales));
  }
}

INSTANTIATE_TEST_SUITE_P(, SearchGolden,
                         ::testing::Values("w4_g32", "w4_g64_two", "w3_g32_three", "w4_channel",
                                           "w3_g64", "w4_g32_sym", "w3_channel_sym", "w4_g32_hard"),
                         [](const auto& test) { return std::string(test.param); });

constexpr const char* kLayers = "layers/codellama13b_layers.safetensors";

// Roundings of 3,072 tokens and 1,536 features are random in sign: sqrt(4608) * 2^-24 = 4e-6 of
// one term, and a loss is a sum of many independent ones.
constexpr double kRealTolerance = 1e-5;

std::vector<nlohmann::json> RealCases() {
  const auto cases =
      io::ReadJson(testing::GoldenDir() / "awq_reference" / "codellama13b.json").value();
  return {cases.begin(), cases.end()};
}

Site LoadReal(ThreadPool& pool, const Tensors& layers, const nlohmann::json& row) {
  Site site;
  site.x = layers.Floats(row["inputs"].get<std::string>() + ".calibration");
  site.spec = {row["bits"].get<int>(), row["group_size"].get<std::size_t>(), false};
  for (const auto& module : row["linears"]) {
    site.weights.push_back(layers.Floats(module.get<std::string>() + ".weight"));
  }
  site.Gather(pool);
  return site;
}

// The scale's losses are the reference's, and the screened search loses nothing that matters
// against all twenty evaluated exactly.
TEST(SearchOnRealLayers, ScaleSearchAgreesAndScreeningCostsNothing) {
  AWQ_NEEDS_DATA(kLayers);
  ThreadPool pool;
  const Tensors layers(testing::DataDir() / kLayers);
  for (const nlohmann::json& row : RealCases()) {
    SCOPED_TRACE(row["site"].get<std::string>() + " " + row["bits"].dump());
    const Site site = LoadReal(pool, layers, row);
    const auto losses = row["scale_losses"].get<std::vector<double>>();
    const auto outputs = static_cast<double>(site.outputs);
    double worst = 0;
    for (std::size_t k = 0; k < kAlphas; ++k) {
      const double loss =
          ExactScaleLoss(pool, {site.views, site.spec}, site.Candidate(k), site.statistics.gram);
      worst = std::max(worst, std::abs(loss / outputs / losses[k] - 1));
    }
    EXPECT_LT(worst, kRealTolerance);
    const double best = *std::min_element(losses.begin(), losses.end());
    const ScaleChoice screened = SearchScale(pool, site.views, site.statistics, site.spec);
    EXPECT_LE(screened.exact_evaluations, 3U);
    const double regret =
        losses[static_cast<std::size_t>(std::lround(screened.alpha * 20))] / best - 1;
    EXPECT_LT(regret, 2e-3) << "the sketch left the best out";
    const ScaleChoice exact =
        SearchScale(pool, site.views, site.statistics, site.spec, {.exact_below = 1 << 20});
    const auto index = static_cast<std::size_t>(std::lround(exact.alpha * 20));
    if (index != row["best_index"].get<std::size_t>()) {
      EXPECT_LT(losses[index] / best - 1, kRealTolerance) << "differs by more than a tie";
    }
    fmt::print("{} W{}: alpha {} of {}, regret of screening {:.2e}, losses within {:.1e}\n",
               row["site"].get<std::string>(), site.spec.bits, screened.alpha, exact.alpha, regret,
               worst);
  }
}

TEST(SearchOnRealLayers, ClippingAgrees) {
  AWQ_NEEDS_DATA(kLayers);
  ThreadPool pool;
  const Tensors layers(testing::DataDir() / kLayers);
  for (const nlohmann::json& row : RealCases()) {
    SCOPED_TRACE(row["site"].get<std::string>() + " " + row["bits"].dump());
    Site site = LoadReal(pool, layers, row);
    const Scale s = site.Candidate(row["best_index"].get<std::size_t>());
    ScaleStatistics(pool, s, site.statistics);
    const Matrix<float>& gram = site.statistics.gram;
    const quant::GroupQuantizer quantizer(site.spec);
    const std::size_t n = site.spec.group_size;
    std::vector<std::ptrdiff_t> counts(10);
    double group_loss = 0;
    double output_loss = 0;
    for (const Matrix<float>& w : site.weights) {
      const Matrix<float> scaled = ScaledWeights(w, s);
      const Clip clip = SearchClip(pool, scaled, gram, site.spec);
      for (std::uint8_t k : clip.choice.span()) ++counts[k];
      Matrix<double> losses(w.rows(), clip.choice.cols());
      ForEachGroupLoss(
          pool, w.rows(), 1,
          [&](std::size_t r, std::size_t g, float* residual) {
            const float* group = scaled.row(r) + g * n;
            quantizer.Residual(quantizer.MapOf(quantizer.Range(group, n), clip.bound(r, g)), group,
                               n, residual);
          },
          [&](std::size_t r, std::size_t g, std::span<const double> loss) {
            losses(r, g) = loss[0];
          },
          n, gram);
      for (double loss : losses.span()) group_loss += loss;
      output_loss += MeasureOutputError(pool, scaled, Round(pool, scaled, site.spec, &clip), gram);
    }
    const auto want = row["clip_counts"].get<std::vector<std::ptrdiff_t>>();
    std::ptrdiff_t moved = 0;
    for (std::size_t k = 0; k < 10; ++k) moved += std::abs(counts[k] - want[k]);
    EXPECT_LE(moved, 10) << "near ties aside, the same groups are clipped alike";
    EXPECT_NEAR(group_loss / row["group_loss_clipped"].get<double>(), 1, kRealTolerance);
    const double relative =
        output_loss / static_cast<double>(site.outputs) / row["output_loss_clipped"].get<double>();
    EXPECT_NEAR(relative, 1, 1e-4) << "near ties move single groups";
    fmt::print("{} W{}: {} of {} clips moved, output loss off by {:.1e}\n",
               row["site"].get<std::string>(), site.spec.bits, moved / 2,
               std::accumulate(counts.begin(), counts.end(), std::ptrdiff_t{0}), relative - 1);
  }
}

}  // namespace
}  // namespace awq::search
