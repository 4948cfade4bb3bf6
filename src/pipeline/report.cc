#include "pipeline/report.h"

#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "io/fields.h"
#include "io/json.h"

namespace awq::pipeline {

using nlohmann::json;

namespace {

constexpr std::size_t kMostBits = 64;
constexpr std::size_t kMostInputs = std::size_t{1} << 32;
constexpr std::size_t kMostEpochs = std::size_t{1} << 32;
constexpr std::size_t kMaxReportBytes = std::size_t{256} << 20;

json ToJson(const search::ErrorPair& errors) {
  return {{"rtn_error", errors.rtn}, {"error", errors.chosen}};
}

search::ErrorPair ErrorsFromJson(const json& from) {
  return {from.at("rtn_error").get<double>(), from.at("error").get<double>()};
}

json ToJson(const SiteReport& site) {
  json row = {{"name", site.name}, {"seconds", site.seconds}};
  if (site.obstacle.empty()) {
    row["activation_exponent"] = site.exponents.activation;
    row["weight_exponent"] = site.exponents.weight;
  } else {
    row["not_scaled_because"] = site.obstacle;
  }
  if (site.damping) row["damping"] = *site.damping;
  return row;
}

SiteReport SiteFromJson(const json& row) {
  SiteReport site;
  site.name = row.at("name").get<std::string>();
  site.seconds = row.at("seconds").get<double>();
  site.obstacle = row.value("not_scaled_because", "");
  site.exponents.activation = row.value("activation_exponent", 0.0);
  site.exponents.weight = row.value("weight_exponent", 0.0);
  if (row.contains("damping")) site.damping = row.at("damping").get<double>();
  return site;
}

json ToJson(const LinearReport& linear) {
  json row = {{"name", linear.name},
              {"bits", linear.bits},
              {"group_size", linear.group_size},
              {"rounding", linear.rounding},
              {"correction", linear.correction},
              {"seconds", linear.seconds}};
  if (!linear.quality) return row;
  row["calibration"] = ToJson(linear.quality->calibration);
  row["held_out"] = ToJson(linear.quality->held_out);
  row["output_energy"] = linear.quality->energy;
  return row;
}

Result<LinearReport> LinearFromJson(const json& row) {
  LinearReport linear;
  linear.name = row.at("name").get<std::string>();
  // get() would take any number, and what it makes of 1e300 is undefined.
  const std::string place = "the report of " + linear.name;
  const io::Fields fields(row, place);
  AWQ_ASSIGN(const std::size_t bits, fields.Size("bits", {.least = 1, .most = kMostBits}));
  linear.bits = static_cast<int>(bits);
  AWQ_ASSIGN(linear.group_size, fields.Size("group_size", {.least = 0, .most = kMostInputs}));
  linear.rounding = row.at("rounding").get<std::string>();
  linear.correction = row.at("correction").get<double>();
  linear.seconds = row.at("seconds").get<double>();
  if (!row.contains("held_out")) return linear;
  linear.quality = {.calibration = ErrorsFromJson(row.at("calibration")),
                    .held_out = ErrorsFromJson(row.at("held_out")),
                    .energy = row.at("output_energy").get<double>()};
  return linear;
}

}  // namespace

ReportTotals TotalsOf(const std::vector<BlockReport>& blocks) {
  ReportTotals totals;
  std::map<std::string, std::size_t> kept;
  double linears = 0;
  for (const BlockReport& block : blocks) {
    for (const LinearReport& linear : block.linears) {
      if (!linear.quality || !(linear.quality->energy > 0)) continue;
      ++kept[linear.rounding];
      ++linears;
      totals.held_out_relative_error += linear.quality->held_out.chosen / linear.quality->energy;
      totals.held_out_rtn_relative_error += linear.quality->held_out.rtn / linear.quality->energy;
    }
  }
  if (linears > 0) {
    totals.held_out_relative_error /= linears;
    totals.held_out_rtn_relative_error /= linears;
  }
  totals.kept.assign(kept.begin(), kept.end());
  return totals;
}

json ToJson(const BlockReport& block) {
  json sites = json::array();
  for (const SiteReport& site : block.sites) sites.push_back(ToJson(site));
  json linears = json::array();
  for (const LinearReport& linear : block.linears) linears.push_back(ToJson(linear));
  json row = {{"fold_difference", block.fold_difference},
              {"sites", std::move(sites)},
              {"linears", std::move(linears)}};
  if (block.polish) {
    row["polish"] = {{"relative_error_before", block.polish->before},
                     {"relative_error", block.polish->after},
                     {"epochs_kept", block.polish->epochs_kept}};
  }
  return row;
}

Result<BlockReport> BlockReportFromJson(const json& from) {
  try {
    BlockReport block;
    block.fold_difference = from.at("fold_difference").get<double>();
    for (const json& row : from.at("sites")) block.sites.push_back(SiteFromJson(row));
    for (const json& row : from.at("linears")) {
      AWQ_ASSIGN(LinearReport linear, LinearFromJson(row));
      block.linears.push_back(std::move(linear));
    }
    if (from.contains("polish")) {
      const json& polish = from.at("polish");
      block.polish = {.before = polish.at("relative_error_before").get<double>(),
                      .after = polish.at("relative_error").get<double>(),
                      .epochs_kept = 0};
      const std::string place = "the report of a block: polish";
      AWQ_ASSIGN(block.polish->epochs_kept,
                 io::Fields(polish, place).Size("epochs_kept", {.least = 0, .most = kMostEpochs}));
    }
    return block;
  } catch (const json::exception& failure) {
    return MakeError(ErrorCode::kCorrupt, "the report of a block: {}", failure.what());
  }
}

json ToJson(const QuantizeReport& report) {
  json blocks = json::array();
  for (const BlockReport& block : report.blocks) blocks.push_back(ToJson(block));
  const ReportTotals totals = TotalsOf(report.blocks);
  json kept = json::object();
  for (const auto& [rounding, count] : totals.kept) kept[rounding] = count;
  return {{"model_type", report.model_type},
          {"method", report.method},
          {"format", report.format},
          {"bits", report.bits},
          {"group_size", report.group_size},
          {"symmetric", report.symmetric},
          {"calibration", report.calibration},
          {"calibration_tokens", report.calibration_tokens},
          {"held_out_tokens", report.held_out_tokens},
          {"modules_to_not_convert", report.modules_to_not_convert},
          {"not_converted_because", report.obstacles},
          {"resumed_blocks", report.resumed_blocks},
          {"seconds", report.seconds},
          {"input_bytes", report.input_bytes},
          {"output_bytes", report.output_bytes},
          {"peak_resident_bytes", report.peak_resident_bytes},
          {"peak_allocated_bytes", report.peak_allocated_bytes},
          {"device", report.device},
          {"peak_gpu_bytes", report.peak_gpu_bytes},
          {"memory_bound_bytes", report.memory_bound_bytes},
          {"held_out_relative_error", totals.held_out_relative_error},
          {"held_out_rtn_relative_error", totals.held_out_rtn_relative_error},
          {"kept", std::move(kept)},
          {"blocks", std::move(blocks)}};
}

Result<std::vector<BlockReport>> ParseBlockReports(std::string_view text, std::string_view name) {
  if (text.size() > kMaxReportBytes) {
    return MakeError(ErrorCode::kCorrupt, "{}: {} bytes; at most {} are read", name, text.size(),
                     kMaxReportBytes);
  }
  AWQ_ASSIGN(const json report, io::ParseJson(text, name));
  if (!report.is_object() || !report.contains("blocks") || !report["blocks"].is_array()) {
    return MakeError(ErrorCode::kCorrupt, "{}: expected an object with a list \"blocks\"", name);
  }
  std::vector<BlockReport> reports;
  for (const json& block : report["blocks"]) {
    Result<BlockReport> read = BlockReportFromJson(block);
    if (!read) return MakeError(read.error().code, "{}: {}", name, read.error().message);
    reports.push_back(std::move(*read));
  }
  return reports;
}

Result<std::vector<BlockReport>> ReadBlockReports(const checkpoint::StoredModel& model) {
  AWQ_ASSIGN(const auto text, model.SmallFile(kReportName));
  if (!text) return std::vector<BlockReport>();
  return ParseBlockReports(*text, fmt::format("{}: {}", model.path().string(), kReportName));
}

std::string ToText(const QuantizeReport& report) {
  return ToJson(report).dump(1, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace awq::pipeline
