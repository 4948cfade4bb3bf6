// What a run did and what it cost, as quantization_report.json holds it.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "pipeline/block_search.h"

namespace awq::pipeline {

struct BlockReport {
  // What folding the scales changed, relative, in f32; 0 where nothing was folded.
  double fold_difference = 0;
  std::vector<SiteReport> sites;
  std::vector<LinearReport> linears;
};

struct QuantizeReport {
  std::string model_type;
  std::string method;  // "awq", "rtn"
  std::string format;  // "awq-gemm"
  int bits = 0;
  int group_size = 0;  // -1: whole rows
  bool symmetric = false;
  std::string calibration;  // where the tokens came from; empty without calibration
  std::size_t calibration_tokens = 0;
  std::vector<std::string> modules_to_not_convert;
  std::vector<std::string> obstacles;  // why, one line each
  std::size_t resumed_blocks = 0;      // taken over from an interrupted run
  double seconds = 0;
  std::size_t input_bytes = 0;
  std::size_t output_bytes = 0;
  std::size_t peak_resident_bytes = 0;   // mapped pages of the files included
  std::size_t peak_allocated_bytes = 0;  // without them
  std::size_t memory_bound_bytes = 0;
  std::vector<BlockReport> blocks;
};

nlohmann::json ToJson(const BlockReport& block);
// Reads what ToJson wrote (the journal of an interrupted run).
Result<BlockReport> BlockReportFromJson(const nlohmann::json& json);
nlohmann::json ToJson(const QuantizeReport& report);
// Indented, and valid whatever bytes a path in it has.
std::string ToText(const QuantizeReport& report);

}  // namespace awq::pipeline
