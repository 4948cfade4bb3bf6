#include "transformer/network.h"

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

Status Network::Embed(std::span<const std::int32_t> tokens, MatrixView<float> hidden) const {
  return transformer::Embed(embedding_, tokens, hidden);
}

}  // namespace awq::transformer
