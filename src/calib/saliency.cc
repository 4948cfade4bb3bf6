#include "calib/saliency.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/error.h"
#include "calib/collector.h"
#include "transformer/network.h"

namespace awq::calib {
namespace {

void Rank(const std::vector<float>& mean_abs, std::size_t top, SiteSaliency& site) {
  std::vector<std::size_t> order(mean_abs.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return mean_abs[a] > mean_abs[b]; });
  const auto at = [&](std::size_t rank) { return static_cast<double>(mean_abs[order[rank]]); };
  const double median = at(order.size() / 2);
  const double total = std::accumulate(mean_abs.begin(), mean_abs.end(), 0.0);
  double held = 0;
  const std::size_t percent = std::max<std::size_t>(1, order.size() / 100);
  for (std::size_t rank = 0; rank < percent; ++rank) held += at(rank);
  site.top_1_percent_share = total > 0 ? held / total : 0;
  for (std::size_t rank = 0; rank < std::min(top, order.size()); ++rank) {
    site.channels.push_back({order[rank], at(rank), median > 0 ? at(rank) / median : 0});
  }
}

}  // namespace

Result<std::vector<SiteSaliency>> MeasureSaliency(ThreadPool& pool,
                                                  const model::WeightSource& source,
                                                  const Matrix<std::int32_t>& tokens,
                                                  const SaliencyOptions& options) {
  const model::ModelConfig& config = source.config();
  const std::size_t length = tokens.cols();
  AWQ_ASSIGN(
      const auto network,
      transformer::Network::Create(
          pool, source, {.precision = options.precision, .positions = length, .keep_bytes = 0}));
  transformer::KvCache cache(config, network->precision(),
                             {.layers = 1, .slots = 1, .capacity_tokens = length});
  const std::vector<transformer::Batch> batches(tokens.rows(),
                                                {{.tokens = length, .position = 0, .slot = 0}});
  Matrix<float> hidden(tokens.size(), config.hidden_size);
  AWQ_TRY(network->Embed(tokens.span(), hidden));
  std::vector<SiteSaliency> sites;
  for (std::size_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    Collector collector(pool, search::Gather::kMagnitudes);
    AWQ_TRY(network->RunBlock(layer, batches, cache, hidden, &collector));
    AWQ_ASSIGN(const auto statistics, std::move(collector).Finish(fmt::format("block {}", layer)));
    for (const model::SiteRow& row : config.arch->sites) {
      SiteSaliency site{.layer = layer, .site = std::string(row.name), .channels = {}};
      Rank(statistics.at(row.readers.front()).mean_abs, options.top_channels, site);
      sites.push_back(std::move(site));
    }
    source.Release(layer);
    Report(options.progress, "measuring activations", layer + 1, config.num_hidden_layers,
           "blocks");
  }
  return sites;
}

}  // namespace awq::calib
