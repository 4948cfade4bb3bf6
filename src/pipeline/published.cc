#include "pipeline/published.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <random>

#include "base/clock.h"
#include "base/error.h"
#include "quant/group.h"
#include "search/awq.h"

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
    const search::SiteStatistics& inputs = statistics.at(site.readers.front());
    SiteReport report;
    report.name = std::string(site.name);
    report.obstacle = FoldObstacle(config, site);
    AWQ_ASSIGN(const SiteWeights loaded, LoadSite(pool, weights, plan, site));
    if (loaded.views.empty()) report.obstacle = "none of its linears is quantized";
    if (report.obstacle.empty()) {
      const search::ScaleChoice choice =
          search::SearchScale(pool, loaded.views, inputs, loaded.spec);
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
                                           const search::SiteStatistics* statistics) {
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
    const std::vector<float> size =
        salience == Salience::kWeight ? ColumnPower(weights) : statistics->mean_abs;
    std::ranges::stable_sort(channels, [&](auto a, auto b) { return size[a] > size[b]; });
  }
  channels.resize(count);
  std::ranges::sort(channels);
  return channels;
}

void KeepSalient(Salience salience, MatrixView<const float> weights,
                 const search::SiteStatistics* statistics, StoredLinear& stored) {
  stored.kept = SalientChannels(salience, weights, statistics);
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

  Result<StoredLinear> Round(Role role, const PlannedLinear& planned,
                             const search::SiteStatistics* statistics, LinearReport& report) {
    const auto start = Clock::now();
    const model::Linear& linear = weights_.linear(role);
    Matrix<float> folded = FoldedWeight(pool_, linear, role, fold_);
    AWQ_TRY(quant::CheckWeights(pool_, folded, planned.spec, linear.name));
    StoredLinear stored;
    report.rounding = "rtn";
    if (method_.published_search && IsClipped(role)) {
      const search::Clip clip =
          search::SearchClip(pool_, folded, statistics->gram, planned.spec, fold_.columns_of(role));
      stored.quantized = search::Round(pool_, folded, planned.spec, &clip);
      report.rounding = "awq";
    } else {
      stored.quantized = search::Round(pool_, folded, planned.spec);
    }
    if (method_.keeps != Salience::kNone) KeepSalient(method_.keeps, folded, statistics, stored);
    if (statistics != nullptr && method_.keeps == Salience::kNone) {
      report.quality = Quality(role, std::move(folded), *stored.quantized, *statistics);
    }
    report.name = linear.name;
    report.bits = planned.spec.bits;
    report.group_size = planned.spec.group_size;
    report.seconds = SecondsSince(start);
    return stored;
  }

 private:
  // Against the weights with only their rows folded: what reads this linear takes the rest.
  search::LinearQuality Quality(Role role, Matrix<float> weights,
                                const quant::QuantizedLinear& chosen,
                                const search::SiteStatistics& statistics) {
    std::vector<float> scale = fold_.columns_of(role);
    if (scale.empty()) scale.assign(weights.cols(), 1.0F);
    pool_.ParallelFor(weights.rows(), [&](std::size_t r, std::size_t) {
      for (std::size_t c = 0; c < weights.cols(); ++c) weights(r, c) /= scale[c];
    });
    return search::MeasureQuality(pool_, weights, chosen, scale, statistics);
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
    const search::SiteStatistics* inputs =
        method.calibrates() ? &statistics.at(site.readers.front()) : nullptr;
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
