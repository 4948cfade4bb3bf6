#include "transformer/network.h"

#include <algorithm>

#include "base/error.h"
#include "transformer/embedding.h"
#include "transformer/gpu/network.h"
#include "transformer/host_network.h"

namespace awq::transformer {

Result<quant::Spec> HeadSpec(int bits, std::size_t hidden_size) {
  for (const std::size_t group_size : {64U, 32U, 16U, 8U}) {
    if (hidden_size % group_size == 0) return quant::Spec{.bits = bits, .group_size = group_size};
  }
  return MakeError(ErrorCode::kUnsupported,
                   "a head of {} bits: hidden_size is {}, not a multiple of 8; use 16 bits", bits,
                   hidden_size);
}

Network::Network(ThreadPool& pool, const model::WeightSource& source, const NetworkOptions& options)
    : pool_(pool), source_(source), options_(options), rope_(source.config(), options.positions) {}

Result<std::unique_ptr<Network>> Network::Create(ThreadPool& pool,
                                                 const model::WeightSource& source,
                                                 const NetworkOptions& options) {
  if (options.gpu) return gpu::DeviceNetwork::Create(pool, source, options);
  return HostNetwork::Create(pool, source, options);
}

std::string_view Network::arithmetic() const {
  if (options_.f16) return "f16";
  if (packed() == kernels::Packed::kInt8) return "int8";
  return precision() == kernels::Precision::kBF16 ? "bf16" : "f32";
}

Status Network::LoadEnds() {
  AWQ_ASSIGN(embedding_, source_.Embedding());
  AWQ_ASSIGN(const TensorView norm, source_.FinalNorm());
  final_norm_ = ToFloats(norm);
  return {};
}

std::unique_ptr<KvCache> Network::MakeCache(const CacheShape& shape) const {
  CacheShape own = shape;
  own.type = kv();
  return std::make_unique<KvCache>(config(), precision(), own);
}

Status Network::Embed(std::span<const std::int32_t> tokens, MatrixView<float> hidden) const {
  return transformer::Embed(embedding_, tokens, hidden);
}

Status Network::Run(std::span<const std::int32_t> tokens, const Batch& batch, KvCache& cache) {
  if (hidden_.rows() < tokens.size()) hidden_ = Matrix<float>(tokens.size(), config().hidden_size);
  rows_ = tokens.size();
  const MatrixView<float> hidden = hidden_.view().Rows(0, rows_);
  AWQ_TRY(Embed(tokens, hidden));
  return RunBlocks(batch, cache, hidden);
}

Result<bool> Network::RunAndDraw(std::span<const std::int32_t> tokens, const Batch& batch,
                                 KvCache& cache, std::span<const std::size_t>,
                                 std::span<const Draw>, std::span<std::int32_t>) {
  AWQ_TRY(Run(tokens, batch, cache));
  return false;
}

Status Network::LogitsOf(std::span<const std::size_t> rows, MatrixView<float> logits) {
  AWQ_CHECK_EQ(rows.size(), logits.rows);
  const std::size_t width = config().hidden_size;
  if (wanted_.rows() < rows.size()) wanted_ = Matrix<float>(rows.size(), width);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    AWQ_CHECK_LT(rows[i], rows_);
    std::copy_n(hidden_.row(rows[i]), width, wanted_.row(i));
  }
  return Logits(wanted_.view().Rows(0, rows.size()), logits);
}

}  // namespace awq::transformer
