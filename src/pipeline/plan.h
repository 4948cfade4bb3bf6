// What a run will quantize and what the output directory will hold, decided before any work.
#pragma once

#include <awq/result.h>

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "io/safetensors.h"
#include "model/arch.h"
#include "pack/format.h"
#include "quant/quantized_linear.h"

namespace awq::pipeline {

struct PlanOptions {
  std::string format = "awq-gemm";  // empty: none, nothing is going to be written
  int bits = 4;
  std::optional<std::size_t> group_size;  // 0: the whole row; none: 128, 64 or 32, what divides
  bool symmetric = false;
  // The codes exist already, and who plans sees to zero points that the format cannot hold.
  bool zeros_are_known = false;
  std::vector<model::Role> in_16_bits = {};  // that stay so in any case
};

// The same for every block, since blocks have the same shapes.
struct PlannedLinear {
  std::string_view name;  // "mlp.down_proj"
  std::size_t out_features = 0;
  std::size_t in_features = 0;
  quant::Spec spec;      // group_size is that of this linear (in_features for whole rows)
  std::string obstacle;  // why it stays in 16 bits; empty if it is quantized

  bool quantized() const { return obstacle.empty(); }
  pack::Form form() const { return {out_features, in_features, spec}; }
};

struct Plan {
  const pack::Format* format = nullptr;  // null: none
  quant::Spec spec;  // as config.json will say it; group_size 0 is written as -1
  std::array<std::optional<PlannedLinear>, model::kRoles> linears;
  std::vector<io::TensorInfo> tensors;  // names, types and shapes, in file order; with a format

  const PlannedLinear& linear(model::Role role) const {
    return *linears[static_cast<std::size_t>(role)];
  }
  std::vector<std::string> modules_to_not_convert() const;
  pack::StoredQuantization stored(const model::ModelConfig& config) const;
};

// 128 where it divides the inputs of every linear, else 64, else 32.
std::size_t DefaultGroupSize(const model::ModelConfig& config);

// Where the group size does not divide the inputs of every linear: of how many it does, and the
// usual sizes that would do so of all. Else empty.
std::string UnevenGroups(const Plan& plan);

// Error: the format cannot hold these bits, or no linear at all.
Result<Plan> MakePlan(const model::ModelConfig& config, const PlanOptions& options);

}  // namespace awq::pipeline
