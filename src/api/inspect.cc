#include <awq/awq.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "api/calibration.h"
#include "api/guard.h"
#include "api/runtime.h"
#include "calib/collector.h"
#include "checkpoint/reader.h"
#include "transformer/network.h"

namespace awq {
namespace {

LinearInfo Describe(const model::Linear& linear) {
  LinearInfo info{.name = linear.name,
                  .out_features = linear.out_features,
                  .in_features = linear.in_features,
                  .bits = 16,
                  .group_size = 0,
                  .bytes = linear.weight.bytes.size()};
  if (linear.is_packed()) {
    info.bits = linear.packed->spec().bits;
    info.group_size = linear.packed->spec().group_size;
    info.bytes = linear.packed->stored_bytes();
  } else {
    info.bits = static_cast<int>(8 * ElementBytes(linear.weight.dtype));
  }
  return info;
}

LinearInfo Describe(std::string_view name, const TensorView& table) {
  return {.name = std::string(name),
          .out_features = table.shape[0],
          .in_features = table.shape[1],
          .bits = static_cast<int>(8 * ElementBytes(table.dtype)),
          .group_size = 0,
          .bytes = table.bytes.size()};
}

Status DescribeTensors(const checkpoint::ModelDirectory& model, InspectReport& report) {
  const model::ModelConfig& config = model.config();
  AWQ_ASSIGN(const TensorView embedding, model.Embedding());
  report.linears.push_back(Describe(config.arch->embedding, embedding));
  for (std::size_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    AWQ_ASSIGN(const model::BlockWeights block, model.Block(layer));
    for (const model::LinearRow& row : config.arch->linears) {
      report.linears.push_back(Describe(block.linear(row.role)));
    }
    for (const auto& norm : block.norms) {
      if (norm) report.parameters += norm->elements();
    }
    for (const auto& linear : block.linears) {
      if (linear && linear->bias) report.parameters += linear->bias->elements();
    }
  }
  if (!config.tie_word_embeddings) {
    AWQ_ASSIGN(const TensorView head, model.Head());
    report.linears.push_back(Describe(config.arch->head, head));
  }
  report.parameters += config.hidden_size;  // the final norm
  for (const LinearInfo& linear : report.linears) {
    report.parameters += linear.out_features * linear.in_features;
  }
  return {};
}

SiteInfo Rank(std::string name, const std::vector<float>& mean_abs, std::size_t top) {
  SiteInfo site;
  site.name = std::move(name);
  std::vector<std::size_t> order(mean_abs.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return mean_abs[a] > mean_abs[b]; });
  const auto median = static_cast<double>(mean_abs[order[order.size() / 2]]);
  const double total = std::accumulate(mean_abs.begin(), mean_abs.end(), 0.0);
  double held = 0;
  const std::size_t percent = std::max<std::size_t>(1, order.size() / 100);
  for (std::size_t i = 0; i < percent; ++i) held += static_cast<double>(mean_abs[order[i]]);
  site.top_1_percent_share = total > 0 ? held / total : 0;
  for (std::size_t i = 0; i < std::min(top, order.size()); ++i) {
    const auto value = static_cast<double>(mean_abs[order[i]]);
    site.channels.push_back({order[i], value, median > 0 ? value / median : 0});
  }
  return site;
}

Status DescribeSites(ThreadPool& pool, const checkpoint::ModelDirectory& model,
                     const InspectOptions& options, const Runtime& runtime,
                     InspectReport& report) {
  AWQ_ASSIGN(const calib::CalibrationTokens tokens,
             api::Calibrate(pool, model,
                            {.calibration = options.calibration,
                             .samples = options.samples,
                             .sequence_tokens = options.sequence_tokens,
                             .bos = options.bos,
                             .seed = options.seed},
                            runtime));
  const model::ModelConfig& config = model.config();
  const std::size_t length = tokens.ids.cols();
  AWQ_ASSIGN(const auto network,
             transformer::Network::Create(pool, model,
                                          {.precision = api::ResolvePrecision(runtime.precision),
                                           .positions = length,
                                           .keep_bytes = 0}));
  transformer::KvCache cache(config, network->precision(),
                             {.layers = 1, .slots = 1, .capacity_tokens = length});
  const std::vector<transformer::Batch> batches(
      tokens.ids.rows(), {{.tokens = length, .position = 0, .slot = 0}});
  Matrix<float> hidden(tokens.ids.size(), config.hidden_size);
  AWQ_TRY(network->Embed(tokens.ids.span(), hidden));
  for (std::size_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    calib::Collector collector(pool);
    AWQ_TRY(network->RunBlock(layer, batches, cache, hidden, &collector));
    AWQ_ASSIGN(const auto statistics,
               std::move(collector).Finish(fmt::format("block {}", layer)));
    for (const model::SiteRow& site : config.arch->sites) {
      report.sites.push_back(Rank(fmt::format("block {} {}", layer, site.name),
                                  statistics.at(site.readers.front()).mean_abs,
                                  options.top_channels));
    }
    model.Release(layer);
    if (runtime.progress != nullptr) {
      runtime.progress->Update({.stage = "measuring activations",
                                .done = layer + 1,
                                .total = config.num_hidden_layers,
                                .unit = "blocks",
                                .note = ""});
    }
  }
  return {};
}

std::string ToJson(const InspectReport& report) {
  nlohmann::json linears = nlohmann::json::array();
  for (const LinearInfo& row : report.linears) {
    linears.push_back({{"name", row.name},
                       {"out_features", row.out_features},
                       {"in_features", row.in_features},
                       {"bits", row.bits},
                       {"group_size", row.group_size},
                       {"bytes", row.bytes}});
  }
  nlohmann::json sites = nlohmann::json::array();
  for (const SiteInfo& site : report.sites) {
    nlohmann::json channels = nlohmann::json::array();
    for (const SalientChannel& channel : site.channels) {
      channels.push_back({{"channel", channel.channel},
                          {"mean_abs", channel.mean_abs},
                          {"over_median", channel.over_median}});
    }
    sites.push_back({{"name", site.name},
                     {"top_1_percent_share", site.top_1_percent_share},
                     {"channels", std::move(channels)}});
  }
  return nlohmann::json{{"model_type", report.model_type},
                        {"layers", report.layers},
                        {"hidden_size", report.hidden_size},
                        {"vocab_size", report.vocab_size},
                        {"parameters", report.parameters},
                        {"weight_bytes", report.weight_bytes},
                        {"quantization", report.quantization},
                        {"linears", std::move(linears)},
                        {"sites", std::move(sites)}}
      .dump(1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

Result<InspectReport> Inspect(const InspectOptions& options, const Runtime& runtime) {
  return api::Guard([&]() -> Result<InspectReport> {
    ThreadPool pool(runtime.threads);
    AWQ_ASSIGN(const auto model, checkpoint::ModelDirectory::Open(options.model));
    const model::ModelConfig& config = model->config();
    InspectReport report;
    report.model_type = config.model_type;
    report.layers = config.num_hidden_layers;
    report.hidden_size = config.hidden_size;
    report.vocab_size = config.vocab_size;
    report.weight_bytes = model->weight_bytes();
    if (config.quantization) {
      const quant::Spec& spec = config.quantization->spec;
      report.quantization = fmt::format(
          "{}, {} bits, group size {}, {}", config.quantization->format, spec.bits,
          spec.group_size == 0 ? "-1" : std::to_string(spec.group_size),
          spec.symmetric ? "symmetric" : "with zero points");
    }
    AWQ_TRY(DescribeTensors(*model, report));
    if (!options.calibration.empty()) {
      AWQ_TRY(DescribeSites(pool, *model, options, runtime, report));
    }
    report.json = ToJson(report);
    return report;
  });
}

}  // namespace awq
