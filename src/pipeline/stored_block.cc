#include "pipeline/stored_block.h"

#include <algorithm>
#include <span>

#include "base/error.h"
#include "math/vector.h"
#include "pipeline/dense.h"

namespace awq::pipeline {
namespace {

using model::Role;

TensorView ViewOf(const Matrix<F16>& matrix) {
  return {DType::kF16, {matrix.rows(), matrix.cols()}, std::as_bytes(matrix.span())};
}

Result<std::vector<F16>> ToStored(const std::vector<float>& values, const std::string& name) {
  std::vector<F16> halves(values.size());
  AWQ_TRY(ToHalves(values, name, halves));
  return halves;
}

std::vector<F16> FromBytes(const Buffer<std::byte>& bytes) {
  std::vector<F16> halves(bytes.size() / sizeof(F16));
  std::copy_n(bytes.data(), bytes.size(), reinterpret_cast<std::byte*>(halves.data()));
  return halves;
}

Result<quant::QuantizedLinear> ReadPacked(const checkpoint::DirectoryWriter& writer,
                                          const Plan& plan, const PlannedLinear& planned,
                                          const std::string& module) {
  std::vector<Buffer<std::byte>> bytes;
  std::vector<TensorView> views;
  for (const pack::PartInfo& part : plan.format->parts(planned.form())) {
    AWQ_ASSIGN(Buffer<std::byte> read,
               writer.ReadTensor(fmt::format("{}.{}", module, part.suffix)));
    bytes.push_back(std::move(read));
    views.push_back({part.dtype, part.shape, bytes.back().span()});
  }
  return pack::Unpack(*plan.format, views, planned.form(), module);
}

// Dequantized, but for the channels that were kept.
Matrix<float> WithKept(const StoredLinear& linear) {
  const quant::QuantizedLinear& codes = *linear.quantized;
  Matrix<float> weights(codes.out_features(), codes.in_features());
  quant::Dequantize(codes, 0, weights);
  for (std::size_t r = 0; r < weights.rows(); ++r) {
    for (std::size_t i = 0; i < linear.kept.size(); ++i) {
      weights(r, linear.kept[i]) = ToFloat(linear.kept_weights(r, i));
    }
  }
  return weights;
}

}  // namespace

Result<Matrix<F16>> StoredWeight(ThreadPool& pool, const model::Linear& linear, Role role,
                                 const FoldPlan& fold) {
  const Matrix<float> folded = FoldedWeight(pool, linear, role, fold);
  Matrix<F16> stored(folded.rows(), folded.cols());
  AWQ_TRY(ToHalves(folded.span(), linear.name + ".weight", stored.span()));
  return stored;
}

Result<std::vector<F16>> StoredBias(const model::Linear& linear, Role role, const FoldPlan& fold) {
  if (!linear.bias) return std::vector<F16>{};
  return ToStored(FoldedVector(*linear.bias, role, fold), linear.name + ".bias");
}

Result<std::vector<F16>> StoredNorm(const TensorView& norm, const std::string& name, Role role,
                                    const FoldPlan& fold) {
  return ToStored(FoldedVector(norm, role, fold), name + ".weight");
}

Status StoreNorms(const model::ModelConfig& config, std::size_t layer,
                  const model::BlockWeights& weights, const FoldPlan& fold, StoredBlock& block) {
  for (const model::NormRow& row : config.arch->norms) {
    const auto& norm = weights.norm(row.role);
    if (!norm) continue;
    AWQ_ASSIGN(block.norm(row.role),
               StoredNorm(*norm, model::ModuleName(*config.arch, layer, row.name), row.role, fold));
  }
  return {};
}

kernels::Linear PrepareLinear(ThreadPool& pool, const StoredLinear& linear,
                              math::Precision precision, kernels::Packed packed) {
  kernels::Linear prepared =
      !linear.kept.empty() ? kernels::Linear::FromFloats(pool, WithKept(linear), precision)
      : linear.quantized
          ? kernels::Linear::FromQuantized(pool, *linear.quantized, precision, packed)
          : kernels::Linear::FromDense(pool, ViewOf(linear.dense), precision);
  if (!linear.bias.empty()) prepared.set_bias(PrepareNorm(linear.bias));
  return prepared;
}

std::vector<float> PrepareNorm(const std::vector<F16>& norm) {
  std::vector<float> values;
  for (F16 value : norm) values.push_back(ToFloat(value));
  return values;
}

Status WriteBlock(checkpoint::DirectoryWriter& writer, const model::ModelConfig& config,
                  const Plan& plan, std::size_t layer, const StoredBlock& block) {
  for (const model::LinearRow& row : config.arch->linears) {
    const std::string module = model::ModuleName(*config.arch, layer, row.name);
    const StoredLinear& linear = block.linear(row.role);
    if (!linear.bias.empty()) {
      AWQ_TRY(writer.WriteTensor(module + ".bias", std::as_bytes(std::span(linear.bias))));
    }
    if (!linear.quantized) {
      AWQ_TRY(writer.WriteTensor(module + ".weight", std::as_bytes(linear.dense.span())));
      continue;
    }
    AWQ_ASSIGN(const auto parts, pack::Pack(*plan.format, *linear.quantized, module));
    for (const pack::PackedPart& part : parts) {
      AWQ_TRY(
          writer.WriteTensor(fmt::format("{}.{}", module, part.info.suffix), part.bytes.span()));
    }
  }
  for (const model::NormRow& row : config.arch->norms) {
    const std::vector<F16>& norm = block.norms[static_cast<std::size_t>(row.role)];
    if (norm.empty()) continue;
    AWQ_TRY(writer.WriteTensor(model::ModuleName(*config.arch, layer, row.name) + ".weight",
                               std::as_bytes(std::span(norm))));
  }
  return {};
}

Result<StoredBlock> ReadBlock(const checkpoint::DirectoryWriter& writer,
                              const model::ModelConfig& config, const Plan& plan,
                              std::size_t layer) {
  StoredBlock block;
  for (const model::LinearRow& row : config.arch->linears) {
    const std::string module = model::ModuleName(*config.arch, layer, row.name);
    const PlannedLinear& planned = plan.linear(row.role);
    StoredLinear& linear = block.linear(row.role);
    if (model::HasBias(config, row)) {
      AWQ_ASSIGN(const Buffer<std::byte> bytes, writer.ReadTensor(module + ".bias"));
      linear.bias = FromBytes(bytes);
    }
    if (planned.quantized()) {
      AWQ_ASSIGN(linear.quantized, ReadPacked(writer, plan, planned, module));
      continue;
    }
    AWQ_ASSIGN(const Buffer<std::byte> bytes, writer.ReadTensor(module + ".weight"));
    linear.dense = Matrix<F16>(planned.out_features, planned.in_features);
    std::copy_n(bytes.data(), bytes.size(), reinterpret_cast<std::byte*>(linear.dense.data()));
  }
  for (const model::NormRow& row : config.arch->norms) {
    if (!model::IsPresent(config, row)) continue;
    AWQ_ASSIGN(const Buffer<std::byte> bytes,
               writer.ReadTensor(model::ModuleName(*config.arch, layer, row.name) + ".weight"));
    block.norm(row.role) = FromBytes(bytes);
  }
  return block;
}

std::size_t StoredBits(const StoredBlock& block) {
  std::size_t bits = 0;
  for (const StoredLinear& linear : block.linears) {
    bits += 16 * (linear.dense.size() + linear.bias.size() + linear.kept_weights.size());
    if (!linear.quantized) continue;
    const auto code_bits = static_cast<std::size_t>(linear.quantized->spec.bits);
    bits += code_bits * linear.quantized->codes.size();
    bits += (16 + code_bits) * linear.quantized->scales.size();
  }
  for (const auto& norm : block.norms) bits += 16 * norm.size();
  return bits;
}

}  // namespace awq::pipeline
