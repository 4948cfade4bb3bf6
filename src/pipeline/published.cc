#include "pipeline/published.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <numeric>
#include <optional>
#include <random>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "quant/group.h"
#include "search/awq.h"
#include "search/site.h"

namespace awq::pipeline {
namespace {

using model::Role;
using Clock = std::chrono::steady_clock;

constexpr double kSalientShare = 0.01;

struct SiteWeights {
  std::vector<Matrix<float>> owned;
  std::vector<MatrixView<const float>> views;
  quant::Spec spec;
};

// The site's quantized linears, unscaled.
Result<SiteWeights> LoadSite(ThreadPool& pool, const model::BlockWeights& weights, const Plan& plan,
                             const model::SiteRow& site) {
  SiteWeights loaded;
  for (Role reader : site.readers) {
    const PlannedLinear& planned = plan.linear(reader);
    if (!planned.quantized()) continue;
    const model::Linear& linear = weights.linear(reader);
    loaded.spec = planned.spec;
    loaded.owned.push_back(FoldedWeight(pool, linear, reader, FoldPlan{}));
    AWQ_TRY(quant::CheckWeights(pool, loaded.owned.back(), planned.spec, linear.name));
  }
  for (const Matrix<float>& each : loaded.owned) loaded.views.push_back(each.view());
  return loaded;
}

// One scale a site.
Result<FoldPlan> SearchScales(ThreadPool& pool, const model::ModelConfig& config,
                              const model::BlockWeights& weights, const Plan& plan,
                              const BlockStatistics& statistics, std::vector<SiteReport>& reports) {
  FoldPlan fold;
  for (const model::SiteRow& site : config.arch->sites) {
    const auto start = Clock::now();
    SiteReport report;
    report.name = std::string(site.name);
    report.obstacle = FoldObstacle(config, site);
    AWQ_ASSIGN(const SiteWeights loaded, LoadSite(pool, weights, plan, site));
    if (loaded.views.empty()) report.obstacle = "none of its linears is quantized";
    if (report.obstacle.empty()) {
      const auto arithmetic =
          statistics.at(site.readers.front())->Arithmetic({loaded.views, loaded.spec});
      const search::ScaleChoice choice = search::SearchScale(
          [&](std::span<const search::Scale> scales) { return arithmetic->EstimateLosses(scales); },
          [&](std::span<const search::Scale> scales) { return arithmetic->ExactLosses(scales); },
          arithmetic->mean_abs(), loaded.views);
      report.exponents.activation = choice.alpha;
      fold.Add(site, choice.scale);
    }
    report.seconds = SecondsSince(start);
    reports.push_back(std::move(report));
  }
  return fold;
}

// The mean square of each input channel's weights.
std::vector<float> ColumnPower(MatrixView<const float> weights) {
  std::vector<double> sums(weights.cols);
  for (std::size_t r = 0; r < weights.rows; ++r) {
    for (std::size_t c = 0; c < weights.cols; ++c) {
      sums[c] += static_cast<double>(weights(r, c)) * static_cast<double>(weights(r, c));
    }
  }
  return {sums.begin(), sums.end()};
}

// The channels that stay in 16 bits, in rising order.
std::vector<std::uint32_t> SalientChannels(Salience salience, MatrixView<const float> weights,
                                           std::span<const float> mean_abs) {
  std::vector<std::uint32_t> channels(weights.cols);
  std::iota(channels.begin(), channels.end(), 0U);
  const auto count =
      static_cast<std::size_t>(std::ceil(kSalientShare * static_cast<double>(weights.cols)));
  if (salience == Salience::kRandom) {
    std::mt19937 random(static_cast<unsigned>(weights.cols));
    for (std::size_t i = 0; i < count; ++i) {
      std::swap(channels[i], channels[i + random() % (weights.cols - i)]);
    }
  } else {
    std::vector<float> size(mean_abs.begin(), mean_abs.end());
    if (salience == Salience::kWeight) size = ColumnPower(weights);
    std::ranges::stable_sort(channels, [&](auto a, auto b) { return size[a] > size[b]; });
  }
  channels.resize(count);
  std::ranges::sort(channels);
  return channels;
}

void KeepSalient(Salience salience, MatrixView<const float> weights,
                 std::span<const float> mean_abs, StoredLinear& stored) {
  stored.kept = SalientChannels(salience, weights, mean_abs);
  stored.kept_weights = Matrix<F16>(weights.rows, stored.kept.size());
  for (std::size_t r = 0; r < weights.rows; ++r) {
    for (std::size_t i = 0; i < stored.kept.size(); ++i) {
      stored.kept_weights(r, i) = ToF16(weights(r, stored.kept[i]));
    }
  }
}

// One block, linear by linear.
class Rounder {
 public:
  Rounder(ThreadPool& pool, const Method& method, const model::BlockWeights& weights,
          const FoldPlan& fold)
      : pool_(pool), method_(method), weights_(weights), fold_(fold) {}

  // inputs: what the linear reads, null for methods without calibration.
  Result<StoredLinear> Round(Role role, const PlannedLinear& planned, search::SiteGathering* inputs,
                             LinearReport& report) {
    const auto start = Clock::now();
    const model::Linear& linear = weights_.linear(role);
    AWQ_ASSIGN(const Matrix<float> weights, Load(role, planned.spec));
    const MatrixView<const float> view = weights;
    StoredLinear stored;
    report.rounding = "rtn";
    std::unique_ptr<search::SiteArithmetic> arithmetic;
    if (inputs != nullptr) arithmetic = inputs->Arithmetic({{&view, 1}, planned.spec});
    if (arithmetic == nullptr || method_.keeps != Salience::kNone) {
      stored.quantized = search::Round(pool_, weights, planned.spec);
    } else {
      const bool clip = method_.published_search && IsClipped(role);
      if (clip) report.rounding = "awq";
      stored.quantized = RoundOn(*arithmetic, ScaleOf(role, weights.cols()), clip, report.quality);
    }
    if (method_.keeps != Salience::kNone) {
      KeepSalient(method_.keeps, weights,
                  arithmetic ? arithmetic->mean_abs() : std::span<const float>(), stored);
    }
    report.name = linear.name;
    report.bits = planned.spec.bits;
    report.group_size = planned.spec.group_size;
    report.seconds = SecondsSince(start);
    return stored;
  }

 private:
  search::Scale ScaleOf(Role role, std::size_t in_features) const {
    const std::vector<float>& columns = fold_.columns_of(role);
    return columns.empty() ? search::Scale(in_features, 1.0F) : columns;
  }

  // With only its rows folded: what reads this linear takes that, its own inputs the rest.
  Result<Matrix<float>> Load(Role role, const quant::Spec& spec) const {
    const model::Linear& linear = weights_.linear(role);
    FoldPlan rows;
    rows.rows[static_cast<std::size_t>(role)] = fold_.rows_of(role);
    Matrix<float> weights = FoldedWeight(pool_, linear, role, rows);
    const Matrix<float> scaled =
        search::ScaledWeights(pool_, weights, ScaleOf(role, weights.cols()));
    AWQ_TRY(quant::CheckWeights(pool_, scaled, spec, linear.name));
    return weights;
  }

  static quant::QuantizedLinear RoundOn(search::SiteArithmetic& arithmetic,
                                        const search::Scale& scale, bool clip,
                                        std::optional<search::LinearQuality>& quality) {
    const search::Scale identity(scale.size(), 1.0F);
    const auto rtn = arithmetic.RoundToNearest(0, identity, false);
    auto chosen = arithmetic.RoundToNearest(0, scale, clip);
    quality = search::MeasureQuality(
        arithmetic, 0, {rtn.get(), &identity}, {chosen.get(), &scale},
        {arithmetic.Error(0, *rtn, identity), arithmetic.Error(0, *chosen, scale)});
    return arithmetic.Take(std::move(chosen));
  }

  ThreadPool& pool_;
  const Method& method_;
  const model::BlockWeights& weights_;
  const FoldPlan& fold_;
};

}  // namespace

bool IsClipped(Role role) { return role != Role::kQ && role != Role::kK; }

Result<PublishedBlock> QuantizePublished(ThreadPool& pool, const model::ModelConfig& config,
                                         const Plan& plan, const Method& method, std::size_t layer,
                                         const model::BlockWeights& weights,
                                         const BlockStatistics& statistics, BlockReport& report) {
  PublishedBlock block;
  if (method.published_search) {
    AWQ_ASSIGN(block.fold, SearchScales(pool, config, weights, plan, statistics, report.sites));
  }
  Rounder rounder(pool, method, weights, block.fold);
  for (const model::SiteRow& site : config.arch->sites) {
    search::SiteGathering* const inputs =
        method.calibrates() ? statistics.at(site.readers.front()).get() : nullptr;
    for (Role reader : site.readers) {
      const PlannedLinear& planned = plan.linear(reader);
      const model::Linear& linear = weights.linear(reader);
      StoredLinear& stored = block.stored.linear(reader);
      if (planned.quantized()) {
        LinearReport of_linear;
        AWQ_ASSIGN(stored, rounder.Round(reader, planned, inputs, of_linear));
        report.linears.push_back(std::move(of_linear));
      } else {
        AWQ_ASSIGN(stored.dense, StoredWeight(pool, linear, reader, block.fold));
      }
      AWQ_ASSIGN(stored.bias, StoredBias(linear, reader, block.fold));
    }
  }
  AWQ_TRY(StoreNorms(config, layer, weights, block.fold, block.stored));
  return block;
}

}  // namespace awq::pipeline
