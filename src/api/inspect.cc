#include <awq/awq.h>

#include <map>
#include <nlohmann/json.hpp>

#include "api/calibration.h"
#include "api/guard.h"
#include "api/runtime.h"
#include "calib/saliency.h"
#include "checkpoint/stored_model.h"
#include "pack/format.h"
#include "pipeline/report.h"

namespace awq {
namespace {

// Where the weights that we see are converted, what the file has.
LinearInfo AsStored(const checkpoint::StoredModel& model, LinearInfo info) {
  if (const auto form = model.ConvertedForm(info.name)) {
    info.bits = form->bits;
    info.group_size = form->group_size;
    info.bytes = form->bytes;
  }
  return info;
}

LinearInfo Describe(const model::Linear& linear) {
  LinearInfo info{.name = linear.name,
                  .out_features = linear.out_features,
                  .in_features = linear.in_features,
                  .bits = 16,
                  .group_size = 0,
                  .bytes = linear.weight.bytes.size(),
                  .rounding = ""};
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
          .bytes = table.bytes.size(),
          .rounding = ""};
}

std::string Describe(const pack::Quantization& quantization) {
  const quant::Spec* spec = quantization.spec();
  if (spec == nullptr) return fmt::format("{}, mixed precision", quantization.format->name);
  return fmt::format("{}, {} bits, group size {}, {}{}", quantization.format->name, spec->bits,
                     spec->group_size == 0 ? "-1" : std::to_string(spec->group_size),
                     spec->symmetric ? "symmetric" : "with zero points",
                     spec->act_order ? ", act order" : "");
}

Status DescribeTensors(const checkpoint::StoredModel& model, InspectReport& report) {
  const model::ModelConfig& config = model.config();
  AWQ_ASSIGN(const TensorView embedding, model.Embedding());
  report.linears.push_back(AsStored(model, Describe(config.arch->embedding, embedding)));
  for (std::size_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    AWQ_ASSIGN(const model::BlockWeights block, model.Block(layer));
    for (const model::LinearRow& row : config.arch->linears) {
      report.linears.push_back(AsStored(model, Describe(block.linear(row.role))));
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
    report.linears.push_back(AsStored(model, Describe(config.arch->head, head)));
  }
  report.parameters += config.hidden_size;  // the final norm
  for (const LinearInfo& linear : report.linears) {
    report.parameters += linear.out_features * linear.in_features;
  }
  return {};
}

Status DescribeSites(ThreadPool& pool, const checkpoint::StoredModel& model,
                     const InspectOptions& options, const Runtime& runtime, InspectReport& report) {
  AWQ_ASSIGN(const api::PreparedCalibration calibration,
             api::PrepareCalibration(model, *options.calibration, runtime));
  AWQ_ASSIGN(const calib::CalibrationTokens tokens, api::Calibrate(pool, model, calibration));
  AWQ_ASSIGN(const auto sites,
             calib::MeasureSaliency(pool, model, tokens.ids,
                                    {.precision = api::ResolvePrecision(runtime.precision),
                                     .top_channels = options.top_channels,
                                     .progress = runtime.progress}));
  for (const calib::SiteSaliency& site : sites) {
    SiteInfo info{.name = fmt::format("block {} {}", site.layer, site.site),
                  .channels = {},
                  .top_1_percent_share = site.top_1_percent_share};
    for (const calib::SalientChannel& channel : site.channels) {
      info.channels.push_back({channel.channel, channel.mean_abs, channel.over_median});
    }
    report.sites.push_back(std::move(info));
  }
  return {};
}

// What quantizing said of each linear. A report that cannot be read is no reason to show nothing.
void AddErrors(const checkpoint::StoredModel& model, const Runtime& runtime,
               InspectReport& report) {
  const auto blocks = pipeline::ReadBlockReports(model);
  if (!blocks) return api::Note(runtime, blocks.error().message);
  std::map<std::string_view, const pipeline::LinearReport*> by_name;
  for (const pipeline::BlockReport& block : *blocks) {
    for (const pipeline::LinearReport& linear : block.linears) by_name[linear.name] = &linear;
  }
  for (LinearInfo& row : report.linears) {
    const auto found = by_name.find(row.name);
    if (found == by_name.end()) continue;
    row.rounding = found->second->rounding;
    const auto& quality = found->second->quality;
    if (!quality || !(quality->energy > 0)) continue;
    row.relative_error = quality->held_out.chosen / quality->energy;
    row.rtn_relative_error = quality->held_out.rtn / quality->energy;
  }
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
    if (!row.rounding.empty()) linears.back()["rounding"] = row.rounding;
    if (row.relative_error) {
      linears.back()["relative_error"] = *row.relative_error;
      linears.back()["rtn_relative_error"] = *row.rtn_relative_error;
    }
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
    ThreadPool pool(api::CheckedThreads(runtime));
    AWQ_ASSIGN(const auto model, api::OpenModel(options.model, runtime));
    const model::ModelConfig& config = model->config();
    InspectReport report;
    report.model_type = config.model_type;
    report.layers = config.num_hidden_layers;
    report.hidden_size = config.hidden_size;
    report.vocab_size = config.vocab_size;
    report.weight_bytes = model->weight_bytes();
    report.quantization =
        model->quantization() ? Describe(*model->quantization()) : model->storage();
    AWQ_TRY(DescribeTensors(*model, report));
    AddErrors(*model, runtime, report);
    if (options.calibration) {
      AWQ_TRY(DescribeSites(pool, *model, options, runtime, report));
    }
    report.json = ToJson(report);
    return report;
  });
}

}  // namespace awq
