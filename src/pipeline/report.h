// What a run did and what it cost, as quantization_report.json holds it.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "checkpoint/stored_model.h"
#include "search/paired_error.h"
#include "search/scale_family.h"

namespace awq::pipeline {

inline constexpr std::string_view kReportName = "quantization_report.json";

struct SiteReport {
  std::string name;  // "qkv"
  // s = mean|x|^activation / (share of |w| in its group)^weight; both 0: the identity
  search::Exponents exponents;
  std::optional<double> damping;  // of the Gram matrix, where rounding had feedback
  std::string obstacle;           // why no scale was searched; empty if one was
  double seconds = 0;             // of the whole site where its linears are solved together
};

struct LinearReport {
  std::string name;
  int bits = 0;
  std::size_t group_size = 0;
  std::string rounding;                          // what was kept: "feedback", "awq" or "rtn"
  double correction = 0;                         // alpha of the corrected target; 0: none
  std::optional<search::LinearQuality> quality;  // of methods that calibrate
  double seconds = 0;                            // 0 where the site's are those of all its linears
};

// What the gradient made of a block's error, relative to its output, on held-out tokens.
struct PolishResult {
  double before = 0;
  double after = 0;  // never above `before`
  std::size_t epochs_kept = 0;
};

struct BlockReport {
  // What folding the scales changed, relative, in f32; 0 where nothing was folded.
  double fold_difference = 0;
  std::vector<SiteReport> sites;
  std::vector<LinearReport> linears;
  std::optional<PolishResult> polish;
};

struct QuantizeReport {
  std::string model_type;
  std::string method;  // "awq-plus"
  std::string format;  // "awq-gemm"
  int bits = 0;
  int group_size = 0;  // -1: whole rows
  bool symmetric = false;
  std::string calibration;  // where the tokens came from; empty without calibration
  std::size_t calibration_tokens = 0;
  std::size_t held_out_tokens = 0;  // of these; 0: what the linears have as held out was counted
  std::vector<std::string> modules_to_not_convert;
  std::vector<std::string> obstacles;  // why, one line each
  std::size_t resumed_blocks = 0;      // taken over from an interrupted run
  double seconds = 0;
  std::size_t input_bytes = 0;
  std::size_t output_bytes = 0;
  std::size_t peak_resident_bytes = 0;   // mapped pages of the files included
  std::size_t peak_allocated_bytes = 0;  // without them
  std::size_t memory_bound_bytes = 0;
  std::string device = "cpu";      // or the GPU's name
  std::size_t peak_gpu_bytes = 0;  // of its memory; 0 on the CPU
  std::vector<BlockReport> blocks;
};

// Means over all linears of the share of the output's energy that is error, and how often each
// rounding was kept. Zeros and no names without calibration.
struct ReportTotals {
  double held_out_relative_error = 0;
  double held_out_rtn_relative_error = 0;
  std::vector<std::pair<std::string, std::size_t>> kept;
};
ReportTotals TotalsOf(const std::vector<BlockReport>& blocks);

nlohmann::json ToJson(const BlockReport& block);
// Reads what ToJson wrote (the journal of an interrupted run).
Result<BlockReport> BlockReportFromJson(const nlohmann::json& json);
nlohmann::json ToJson(const QuantizeReport& report);
// The blocks of a report's text. kCorrupt: one that is not ours; names it.
Result<std::vector<BlockReport>> ParseBlockReports(std::string_view text, std::string_view name);
// Of the report that a quantized model carries; none where there is no report.
Result<std::vector<BlockReport>> ReadBlockReports(const checkpoint::StoredModel& model);
// Indented, and valid whatever bytes a path in it has.
std::string ToText(const QuantizeReport& report);

}  // namespace awq::pipeline
