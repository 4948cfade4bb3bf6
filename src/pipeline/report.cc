#include "pipeline/report.h"

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace awq::pipeline {

using nlohmann::json;

json ToJson(const BlockReport& block) {
  json sites = json::array();
  for (const SiteReport& site : block.sites) {
    json row = {{"name", site.name}, {"seconds", site.seconds}};
    if (site.obstacle.empty()) {
      row.update({{"alpha", site.alpha}, {"rtn_error", site.rtn_error}, {"error", site.error}});
    } else {
      row["not_scaled_because"] = site.obstacle;
    }
    sites.push_back(std::move(row));
  }
  json linears = json::array();
  for (const LinearReport& linear : block.linears) {
    json row = {{"name", linear.name},
                {"bits", linear.bits},
                {"group_size", linear.group_size},
                {"seconds", linear.seconds}};
    if (linear.relative_error) {
      row["error"] = linear.error;
      row["relative_error"] = *linear.relative_error;
    }
    linears.push_back(std::move(row));
  }
  return {{"fold_difference", block.fold_difference},
          {"sites", std::move(sites)},
          {"linears", std::move(linears)}};
}

Result<BlockReport> BlockReportFromJson(const json& from) {
  try {
    BlockReport block;
    block.fold_difference = from.at("fold_difference").get<double>();
    for (const json& row : from.at("sites")) {
      SiteReport site;
      site.name = row.at("name").get<std::string>();
      site.seconds = row.at("seconds").get<double>();
      site.obstacle = row.value("not_scaled_because", "");
      site.alpha = row.value("alpha", 0.0);
      site.rtn_error = row.value("rtn_error", 0.0);
      site.error = row.value("error", 0.0);
      block.sites.push_back(std::move(site));
    }
    for (const json& row : from.at("linears")) {
      LinearReport linear;
      linear.name = row.at("name").get<std::string>();
      linear.bits = row.at("bits").get<int>();
      linear.group_size = row.at("group_size").get<std::size_t>();
      linear.seconds = row.at("seconds").get<double>();
      if (row.contains("relative_error")) {
        linear.error = row.at("error").get<double>();
        linear.relative_error = row.at("relative_error").get<double>();
      }
      block.linears.push_back(std::move(linear));
    }
    return block;
  } catch (const json::exception& failure) {
    return MakeError(ErrorCode::kCorrupt, "the journal of the interrupted run: {}", failure.what());
  }
}

json ToJson(const QuantizeReport& report) {
  json blocks = json::array();
  for (const BlockReport& block : report.blocks) blocks.push_back(ToJson(block));
  return {{"model_type", report.model_type},
          {"method", report.method},
          {"format", report.format},
          {"bits", report.bits},
          {"group_size", report.group_size},
          {"symmetric", report.symmetric},
          {"calibration", report.calibration},
          {"calibration_tokens", report.calibration_tokens},
          {"modules_to_not_convert", report.modules_to_not_convert},
          {"not_converted_because", report.obstacles},
          {"resumed_blocks", report.resumed_blocks},
          {"seconds", report.seconds},
          {"input_bytes", report.input_bytes},
          {"output_bytes", report.output_bytes},
          {"peak_resident_bytes", report.peak_resident_bytes},
          {"peak_allocated_bytes", report.peak_allocated_bytes},
          {"memory_bound_bytes", report.memory_bound_bytes},
          {"blocks", std::move(blocks)}};
}

std::string ToText(const QuantizeReport& report) {
  return ToJson(report).dump(1, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace awq::pipeline
