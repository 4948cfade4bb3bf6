// One block as the output will hold it: codes, and 16 bits for what is not quantized.
#pragma once

#include <awq/result.h>

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/threads.h"
#include "checkpoint/writer.h"
#include "pipeline/fold.h"
#include "pipeline/plan.h"
#include "quant/quantized_linear.h"
#include "transformer/block.h"

namespace awq::pipeline {

struct StoredLinear {
  std::optional<quant::QuantizedLinear> quantized;
  Matrix<F16> dense;      // [out, in], where it is not quantized
  std::vector<F16> bias;  // [out], or empty
  // Channels of a quantized linear that stay in 16 bits all the same; no file can hold that.
  std::vector<std::uint32_t> kept;
  Matrix<F16> kept_weights;  // [out, kept]
};

struct StoredBlock {
  std::array<StoredLinear, model::kRoles> linears;
  std::array<std::vector<F16>, model::kRoles> norms;  // empty where the architecture has none

  StoredLinear& linear(model::Role role) { return linears[static_cast<std::size_t>(role)]; }
  const StoredLinear& linear(model::Role role) const {
    return linears[static_cast<std::size_t>(role)];
  }
  std::vector<F16>& norm(model::Role role) { return norms[static_cast<std::size_t>(role)]; }
};

// A folded weight, bias or norm in 16 bits. Errors: a value that fp16 cannot hold (names the
// tensor and the place).
Result<Matrix<F16>> StoredWeight(ThreadPool& pool, const model::Linear& linear, model::Role role,
                                 const FoldPlan& fold);
Result<std::vector<F16>> StoredBias(const model::Linear& linear, model::Role role,
                                    const FoldPlan& fold);  // empty where there is none
Result<std::vector<F16>> StoredNorm(const TensorView& norm, const std::string& name,
                                    model::Role role, const FoldPlan& fold);
Status StoreNorms(const model::ModelConfig& config, std::size_t layer,
                  const model::BlockWeights& weights, const FoldPlan& fold, StoredBlock& block);

// Ready to compute with, as a reader of the output would be.
kernels::Linear PrepareLinear(ThreadPool& pool, const StoredLinear& linear,
                              math::Precision precision,
                              kernels::Packed packed = kernels::Packed::kDense);
std::vector<float> PrepareNorm(const std::vector<F16>& norm);

Status WriteBlock(checkpoint::DirectoryWriter& writer, const model::ModelConfig& config,
                  const Plan& plan, std::size_t layer, const StoredBlock& block);
// What WriteBlock wrote, in this run or the one that it continues.
Result<StoredBlock> ReadBlock(const checkpoint::DirectoryWriter& writer,
                              const model::ModelConfig& config, const Plan& plan,
                              std::size_t layer);

// Of codes, scales, zeros and what stays in 16 bits.
std::size_t StoredBits(const StoredBlock& block);

}  // namespace awq::pipeline
