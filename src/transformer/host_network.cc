#include "transformer/host_network.h"

#include <algorithm>

#include "base/error.h"
#include "math/vector.h"
#include "transformer/host_limits.h"

namespace awq::transformer {
namespace {

using kernels::Packed;

// A rounded head is packed, whatever the blocks are.
Packed HeadActivations(const NetworkOptions& options) {
  return options.head_bits != 16 && options.packed == Packed::kDense ? Packed::kExact
                                                                     : options.packed;
}

void Count(const kernels::Linear& linear, Network::Work& work) {
  work.weight_bytes += linear.weight_bytes();
  work.multiplications += linear.out_features() * linear.in_features();
}

}  // namespace

HostNetwork::HostNetwork(ThreadPool& pool, const model::WeightSource& source,
                         const NetworkOptions& options)
    : Network(pool, source, options),
      runner_(pool, source.config(), rope_, options.precision, options.packed),
      kept_(source.config().num_hidden_layers),
      normed_(options.precision, HeadActivations(options)) {}

Result<std::unique_ptr<Network>> HostNetwork::Create(ThreadPool& pool,
                                                     const model::WeightSource& source,
                                                     const NetworkOptions& options) {
  if (options.precision == kernels::Precision::kBF16 && !math::HasFastBF16()) {
    return MakeError(ErrorCode::kUnsupported,
                     "precision bf16: this CPU has no bf16 instructions; use f32");
  }
  std::unique_ptr<HostNetwork> network(new HostNetwork(pool, source, options));
  AWQ_TRY(network->Load());
  return std::unique_ptr<Network>(std::move(network));
}

Status HostNetwork::Load() {
  AWQ_TRY(LoadEnds());
  AWQ_ASSIGN(const TensorView head, source_.Head());
  if (options_.head_bits == 16) {
    head_ = kernels::Linear::FromDense(pool_, head, options_.precision);
    return {};
  }
  AWQ_ASSIGN(const quant::Spec spec, HeadSpec(options_.head_bits, config().hidden_size));
  AWQ_ASSIGN(head_,
             kernels::Linear::Rounded(pool_, head, options_.precision, spec, "the output head"));
  source_.ReleaseAll();
  return {};
}

Network::Work HostNetwork::BlockWork() const {
  Work work;
  for (const auto& block : kept_) {
    if (!block) continue;
    for (const kernels::Linear& linear : block->linears) Count(linear, work);
  }
  return work;
}

Network::Work HostNetwork::HeadWork() const {
  Work work;
  Count(head_, work);
  return work;
}

std::unique_ptr<Limits> HostNetwork::MakeLimits(std::size_t tokens) const {
  const math::ProductProbe::Shape shape = {tokens, config().intermediate_size,
                                           config().hidden_size};
  return std::make_unique<HostLimits>(pool_, precision(), packed(), shape);
}

Result<const PreparedBlock*> HostNetwork::Block(std::size_t layer) {
  if (kept_[layer]) return kept_[layer].get();
  AWQ_ASSIGN(const model::BlockWeights weights, source_.Block(layer));
  const bool keeps_all = options_.keep_bytes == SIZE_MAX;
  if (!scratch_) scratch_.emplace(pool_);
  AWQ_ASSIGN(passing_, Prepare(pool_, weights, options_.precision, options_.packed,
                               {keeps_all ? &arena_ : nullptr, &*scratch_}));
  if (keeps_all && layer + 1 == config().num_hidden_layers) scratch_.reset();
  if (passing_.owns_all()) source_.Release(layer);  // else the pages count twice
  const std::size_t bytes = passing_.owned_bytes();
  const std::size_t all_bytes = bytes * config().num_hidden_layers;
  if (options_.keep_bytes == SIZE_MAX && all_bytes > options_.memory_bytes) {
    return MakeError(ErrorCode::kOutOfMemory,
                     "the model's {} blocks take {} MiB, and only {} MiB of memory are free: end "
                     "other programs, or take a smaller model or one of fewer bits",
                     config().num_hidden_layers, all_bytes >> 20, options_.memory_bytes >> 20);
  }
  if (bytes <= options_.keep_bytes && kept_bytes_ <= options_.keep_bytes - bytes) {
    kept_[layer] = std::make_unique<PreparedBlock>(std::move(passing_));
    kept_bytes_ += bytes;
    return kept_[layer].get();
  }
  return &passing_;
}

std::unique_ptr<KvCache> HostNetwork::MakeCache(const CacheShape& shape) const {
  CacheShape own = shape;
  own.type = kv();
  return std::make_unique<KvCache>(config(), precision(), own);
}

Status HostNetwork::Run(std::span<const std::int32_t> tokens, const Batch& batch, KvCache& cache) {
  if (hidden_.rows() < tokens.size()) hidden_ = Matrix<float>(tokens.size(), config().hidden_size);
  rows_ = tokens.size();
  const MatrixView<float> hidden = hidden_.view().Rows(0, rows_);
  AWQ_TRY(Embed(tokens, hidden));
  return RunBlocks(batch, cache, hidden);
}

Result<bool> HostNetwork::RunAndDraw(std::span<const std::int32_t> tokens, const Batch& batch,
                                     KvCache& cache, std::span<const std::size_t>,
                                     std::span<const Draw>, std::span<std::int32_t>) {
  AWQ_TRY(Run(tokens, batch, cache));
  return false;
}

Status HostNetwork::LogitsOf(std::span<const std::size_t> rows, MatrixView<float> logits) {
  AWQ_CHECK_EQ(rows.size(), logits.rows);
  const std::size_t width = config().hidden_size;
  if (wanted_.rows() < rows.size()) wanted_ = Matrix<float>(rows.size(), width);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    AWQ_CHECK_LT(rows[i], rows_);
    std::copy_n(hidden_.row(rows[i]), width, wanted_.row(i));
  }
  return Logits(wanted_.view().Rows(0, rows.size()), logits);
}

Status HostNetwork::RunBlocks(const Batch& batch, KvCache& cache, MatrixView<float> hidden) {
  AWQ_TRY(cache.Reserve(batch));
  for (std::size_t layer = 0; layer < config().num_hidden_layers; ++layer) {
    AWQ_ASSIGN(const PreparedBlock* block, Block(layer));
    runner_.Run(*block, {layer, layer}, batch, cache, hidden);
  }
  return {};
}

Status HostNetwork::RunBlock(std::size_t layer, std::span<const Batch> batches, KvCache& cache,
                             MatrixView<float> hidden, Observer* observer) {
  AWQ_ASSIGN(const PreparedBlock* block, Block(layer));
  std::size_t row = 0;
  for (const Batch& batch : batches) {
    AWQ_TRY(cache.Reserve(batch));
    const std::size_t tokens = TokensOf(batch);
    runner_.Run(*block, {layer, 0}, batch, cache, hidden.Rows(row, tokens), observer);
    row += tokens;
  }
  return {};
}

Status HostNetwork::Logits(MatrixView<const float> hidden, const std::vector<float>& final_norm,
                           MatrixView<float> logits) {
  const auto eps = static_cast<float>(config().rms_norm_eps);
  normed_.Fill(pool_, hidden.rows, hidden.cols, [&](std::size_t t, std::span<float> row) {
    math::RmsNorm({hidden.row(t), hidden.cols}, final_norm, eps, row);
  });
  head_.Apply(pool_, normed_, logits);
  return {};
}

}  // namespace awq::transformer
