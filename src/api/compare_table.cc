#include "api/compare_table.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "api/estimate.h"

namespace awq::api {
namespace {

// A single window has no spread, and so no interval.
std::string WithInterval(const Estimate& estimate, int digits, bool one) {
  if (one) return fmt::format("{:.{}f} [-]", estimate.value, digits);
  return fmt::format("{:.{}f} [{:.{}f}, {:.{}f}]", estimate.value, digits, estimate.low, digits,
                     estimate.high, digits);
}

std::string Percent(double share) { return fmt::format("{:.1f}", 100 * share); }

std::string GroupOf(const CompareRow& row) {
  if (row.group_size == 0) return "-";
  return row.group_size == -1 ? "row" : std::to_string(row.group_size);
}

bool IsOriginal(const CompareRow& row) { return row.group_size == 0; }

}  // namespace

std::string ToMarkdown(const CompareReport& report) {
  std::string text =
      "| method | bits | group | bits/weight | perplexity | KL mean, nats | KL 99 % | top-1, % |";
  std::string rule = "|---|---|---|---|---|---|---|---|";
  if (!report.rows.empty()) {
    for (const TaskFigure& task : report.rows.front().tasks) {
      text += fmt::format(" {} {}, % |", task.task, task.measure);
      rule += "---|";
    }
  }
  text += " seconds | memory at most |\n" + rule + "---|---|\n";
  for (const CompareRow& row : report.rows) {
    const bool original = IsOriginal(row);
    text += fmt::format("| {} | {} | {} | {:.2f} | {:.3f} | {} | {} | {} |", row.method, row.bits,
                        GroupOf(row), row.bits_per_weight, row.perplexity.value,
                        original ? "-" : WithInterval(row.kl_mean_nats, 4, report.windows == 1),
                        original ? "-" : fmt::format("{:.3f}", row.kl_p99_nats.value),
                        original ? "-" : Percent(row.top1_agreement.value));
    for (const TaskFigure& task : row.tasks) {
      text += fmt::format(" {}", Percent(task.accuracy.value));
      if (!original) {
        text += fmt::format(" ({:+.1f} [{:+.1f}, {:+.1f}])", 100 * task.difference.value,
                            100 * task.difference.low, 100 * task.difference.high);
      }
      text += " |";
    }
    const std::string memory = row.memory_bound_bytes > 0
                                   ? fmt::format("{} MiB", row.memory_bound_bytes >> 20)
                                   : std::string("-");
    text +=
        original ? std::string(" - | - |\n") : fmt::format(" {:.1f} | {} |\n", row.seconds, memory);
  }
  return text;
}

std::string ToCsv(const CompareReport& report) {
  std::string text =
      "method,bits,group_size,bits_per_weight,perplexity,perplexity_low,perplexity_high,"
      "nll_increase_nats,kl_mean_nats,kl_mean_low,kl_mean_high,kl_difference_nats,"
      "kl_difference_low,kl_difference_high,kl_p99_nats,top1_agreement,seconds,memory_bound_bytes";
  if (!report.rows.empty()) {
    for (const TaskFigure& task : report.rows.front().tasks) {
      std::string name;
      for (const char c : task.task) name += c == ',' || c == '"' || c == '\n' ? '_' : c;
      text += fmt::format(",{0}_{1},{0}_{1}_difference", name, task.measure);
    }
  }
  text += "\n";
  for (const CompareRow& row : report.rows) {
    text +=
        fmt::format("{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}", row.method, row.bits,
                    row.group_size, row.bits_per_weight, row.perplexity.value, row.perplexity.low,
                    row.perplexity.high, row.nll_increase_nats.value, row.kl_mean_nats.value,
                    row.kl_mean_nats.low, row.kl_mean_nats.high, row.kl_difference_nats.value,
                    row.kl_difference_nats.low, row.kl_difference_nats.high, row.kl_p99_nats.value,
                    row.top1_agreement.value, row.seconds, row.memory_bound_bytes);
    for (const TaskFigure& task : row.tasks) {
      text += fmt::format(",{},{}", task.accuracy.value, task.difference.value);
    }
    text += "\n";
  }
  text.pop_back();  // the last line's end comes with writing
  return text;
}

std::string ToJson(const CompareReport& report) {
  nlohmann::json rows = nlohmann::json::array();
  for (const CompareRow& row : report.rows) {
    nlohmann::json json = {
        {"method", row.method},         {"bits", row.bits},
        {"group_size", row.group_size}, {"bits_per_weight", row.bits_per_weight},
        {"seconds", row.seconds},       {"memory_bound_bytes", row.memory_bound_bytes}};
    AddEstimate(json, "perplexity", row.perplexity);
    AddEstimate(json, "nll_increase_nats", row.nll_increase_nats);
    AddEstimate(json, "kl_mean_nats", row.kl_mean_nats);
    AddEstimate(json, "kl_difference_nats", row.kl_difference_nats);
    AddEstimate(json, "kl_p99_nats", row.kl_p99_nats);
    AddEstimate(json, "top1_agreement", row.top1_agreement);
    json["tasks"] = nlohmann::json::array();
    for (const TaskFigure& task : row.tasks) {
      nlohmann::json figure = {
          {"task", task.task}, {"measure", task.measure}, {"items", task.items}};
      AddEstimate(figure, "accuracy", task.accuracy);
      AddEstimate(figure, "difference", task.difference);
      json["tasks"].push_back(std::move(figure));
    }
    rows.push_back(std::move(json));
  }
  const nlohmann::json json = {{"calibration", report.calibration},
                               {"text", report.text},
                               {"tokens", report.tokens},
                               {"ctx", report.ctx},
                               {"windows", report.windows},
                               {"footnote", report.footnote},
                               {"device", report.device},
                               {"seconds", report.seconds},
                               {"peak_resident_bytes", report.peak_resident_bytes},
                               {"peak_gpu_bytes", report.peak_gpu_bytes},
                               {"rows", std::move(rows)}};
  return json.dump(1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace awq::api
