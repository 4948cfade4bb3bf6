#include "transformer/gpu/network.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/error.h"
#include "transformer/embedding.h"
#include "transformer/gpu/limits.h"

namespace awq::transformer::gpu {
namespace {

// Of what is free when a cache is made: the rest is for what a batch needs.
constexpr std::size_t kCacheShare = 8, kOfShares = 10;

NetworkOptions OnDevice(NetworkOptions options) {
  options.precision = kernels::Precision::kBF16;  // or fp16, which takes as much
  options.packed = kernels::Packed::kExact;
  return options;
}

Result<cuda::Element> ElementOf(DType type) {
  switch (type) {
    case DType::kF32:
      return cuda::Element::kF32;
    case DType::kF16:
      return cuda::Element::kF16;
    case DType::kBF16:
      return cuda::Element::kBF16;
    default:
      return MakeError(ErrorCode::kUnsupported, "an embedding of {} on a GPU: expected floats",
                       DTypeName(type));
  }
}

}  // namespace

DeviceNetwork::DeviceNetwork(ThreadPool& pool, const model::WeightSource& source,
                             const NetworkOptions& options, std::unique_ptr<Context> context)
    : Network(pool, source, OnDevice(options)),
      context_(std::move(context)),
      kept_(source.config().num_hidden_layers) {}

Result<std::unique_ptr<Network>> DeviceNetwork::Create(ThreadPool& pool,
                                                       const model::WeightSource& source,
                                                       const NetworkOptions& options) {
  AWQ_CHECK(options.gpu.has_value());
  AWQ_TRY(CheckConfig(source.config()));
  AWQ_ASSIGN(auto context, Context::Create(*options.gpu));
  std::unique_ptr<DeviceNetwork> network(
      new DeviceNetwork(pool, source, options, std::move(context)));
  AWQ_TRY(network->Load());
  return std::unique_ptr<Network>(std::move(network));
}

Status DeviceNetwork::Load() {
  AWQ_TRY(LoadEnds());
  norm_ = Uploaded(*context_, std::span<const float>(final_norm_));
  cosines_ = Uploaded(*context_, rope_.cosines());
  sines_ = Uploaded(*context_, rope_.sines());
  AWQ_ASSIGN(table_type_, ElementOf(embedding_.dtype));
  table_ = Uploaded(*context_, embedding_.bytes);
  steps_ = std::make_unique<Steps>(*context_, config(),
                                   Rope{cosines_.data<float>(), sines_.data<float>()}, element());
  AWQ_TRY(LoadHead());
  if (options_.keep_bytes != SIZE_MAX) return context_->status();
  for (std::size_t layer = 0; layer < kept_.size(); ++layer) {
    const Result<const Block*> block = Loaded(layer);
    if (!block) return block.error();
  }
  return context_->status();
}

Status DeviceNetwork::LoadHead() {
  AWQ_ASSIGN(const TensorView head, source_.Head());
  if (options_.head_bits == 16) {
    AWQ_ASSIGN(head_, Linear::FromDense(*context_, pool_, head, type(), "the output head"));
  } else {
    AWQ_ASSIGN(const quant::Spec spec, HeadSpec(options_.head_bits, config().hidden_size));
    AWQ_ASSIGN(head_, Linear::Rounded(*context_, pool_, head, spec, type(), "the output head"));
  }
  source_.ReleaseAll();
  return {};
}

Network::Work DeviceNetwork::BlockWork() const {
  Work work;
  for (const auto& block : kept_) {
    if (!block) continue;
    work.weight_bytes += block->bytes();
    work.multiplications += block->weights();
  }
  return work;
}

Network::Work DeviceNetwork::HeadWork() const { return {head_.bytes(), head_.weights()}; }

std::unique_ptr<Limits> DeviceNetwork::MakeLimits(std::size_t tokens) const {
  const DeviceLimits::Shape shape = {tokens, config().intermediate_size, config().hidden_size};
  return std::make_unique<DeviceLimits>(*context_, shape, type());
}

std::unique_ptr<KvCache> DeviceNetwork::MakeCache(const CacheShape& shape) const {
  CacheShape own = shape;
  own.type = kv();
  own.page_tokens = cuda::kPageTokens;
  const cuda::Element element_type = kv() == KvType::kInt8  ? cuda::Element::kInt8
                                     : kv() == KvType::kF16 ? cuda::Element::kF16
                                                            : element();
  // So that pages are whole however short the sequences.
  own.capacity_tokens = RoundUp(std::max<std::size_t>(own.capacity_tokens, 1), own.page_tokens);
  if (shape.pages == 0 || shape.page_tokens != own.page_tokens) {
    own.pages = own.slots * CeilDiv(own.capacity_tokens, own.page_tokens);
  }
  const std::size_t page_bytes =
      own.layers * own.page_tokens * KvCache::TokenBytes(config(), precision(), kv());
  std::size_t free_bytes = 0, total_bytes = 0;
  context_->Do([&] { return cuda::FreeMemory(&free_bytes, &total_bytes); });
  const std::size_t fit = free_bytes / kOfShares * kCacheShare / page_bytes;
  own.pages = std::clamp<std::size_t>(fit, 1, own.pages);
  return std::make_unique<KvCache>(config(), precision(), own,
                                   std::make_unique<Pages>(*context_, config(), own, element_type));
}

// From the first block: says how much is missing before most of it was loaded.
Result<bool> DeviceNetwork::KeepsAll(const Block& first) const {
  std::size_t free_bytes = 0, total_bytes = 0;
  context_->Do([&] { return cuda::FreeMemory(&free_bytes, &total_bytes); });
  AWQ_TRY(context_->status());
  const std::size_t rest_bytes = first.bytes() * (config().num_hidden_layers - 1);
  if (options_.keep_bytes != SIZE_MAX) return rest_bytes <= free_bytes / 2;
  if (rest_bytes <= free_bytes) return true;
  return MakeError(ErrorCode::kOutOfMemory,
                   "the model's {} blocks take {} MiB of GPU memory, and {} MiB of {} are free: "
                   "{} MiB are missing; take a model of fewer bits, or leave --device out for the "
                   "CPU",
                   config().num_hidden_layers, (rest_bytes + first.bytes()) >> 20,
                   (free_bytes + first.bytes()) >> 20, total_bytes >> 20,
                   CeilDiv(rest_bytes - free_bytes, std::size_t{1} << 20));
}

Result<const Block*> DeviceNetwork::Loaded(std::size_t layer) {
  if (kept_[layer]) return kept_[layer].get();
  AWQ_ASSIGN(const model::BlockWeights weights, source_.Block(layer));
  passing_ = {};
  AWQ_ASSIGN(passing_, Prepare(*context_, pool_, weights, type()));
  source_.Release(layer);
  if (!keeps_all_) {
    AWQ_ASSIGN(keeps_all_, KeepsAll(passing_));
  }
  if (!*keeps_all_) return &passing_;
  kept_[layer] = std::make_unique<Block>(std::move(passing_));
  return kept_[layer].get();
}

void DeviceNetwork::Upload(MatrixView<const float> from, float* to) {
  context_->lane().Upload(from.data, from.rows * from.cols * sizeof(float), to);
}

void DeviceNetwork::Download(const float* from, MatrixView<float> to) {
  context_->Do([&] {
    return cuda::CopyToHost(to.data, from, to.rows * to.cols * sizeof(float), context_->stream());
  });
}

Status DeviceNetwork::RunLoaded() {
  for (std::size_t layer = 0; layer < config().num_hidden_layers; ++layer) {
    AWQ_ASSIGN(const Block* block, Loaded(layer));
    steps_->Run(*block, layer, layer);
  }
  normed_ = steps_->Finish(norm_.data<float>());
  return {};
}

Status DeviceNetwork::Place(std::span<const std::int32_t> tokens, const Batch& batch,
                            KvCache& cache) {
  AWQ_TRY(CheckTokens(tokens, config().vocab_size));
  AWQ_CHECK_EQ(tokens.size(), TokensOf(batch));
  AWQ_TRY(cache.Reserve(batch));
  steps_->Begin(batch, cache);
  auto* const ids = ids_.Take<std::int32_t>(*context_, tokens.size());
  context_->lane().Upload(tokens.data(), tokens.size_bytes(), ids);
  tokens_ = ids;
  return context_->status();
}

Status DeviceNetwork::RunPlaced() {
  cuda::EmbedTask task;
  task.table = table_.data();
  task.type = table_type_;
  task.vocab = static_cast<int>(config().vocab_size);
  task.width = static_cast<int>(config().hidden_size);
  task.ids = tokens_;
  task.tokens = static_cast<int>(steps_->tokens());
  task.hidden = steps_->hidden();
  context_->Do([&] { return cuda::Embed(task, context_->stream()); });
  return RunLoaded();
}

Status DeviceNetwork::Run(std::span<const std::int32_t> tokens, const Batch& batch,
                          KvCache& cache) {
  AWQ_TRY(Place(tokens, batch, cache));
  AWQ_TRY(RunPlaced());
  return context_->status();
}

Result<bool> DeviceNetwork::RunAndDraw(std::span<const std::int32_t> tokens, const Batch& batch,
                                       KvCache& cache, std::span<const std::size_t> rows,
                                       std::span<const Draw> draws, std::span<std::int32_t> drawn) {
  AWQ_CHECK_EQ(rows.size(), draws.size());
  AWQ_CHECK_EQ(rows.size(), drawn.size());
  AWQ_TRY(Place(tokens, batch, cache));
  const bool can_draw = !rows.empty() && Sampling::Takes(draws, config().vocab_size);
  if (!can_draw) {
    AWQ_TRY(RunPlaced());
    return rows.empty();
  }
  sampling_.Place(*context_, draws, config().vocab_size);
  Status ran;
  const auto step = [&] {
    ran = RunPlaced();
    if (ran) sampling_.Launch(*context_, Multiply(NormedRows(rows), rows.size()));
  };
  if (steps_->is_decoding() && IsAll(rows) && keeps_all_.value_or(false)) {
    recordings_.Run(*context_,
                    {tokens.size(), steps_->table_pages(), steps_->pages(), steps_->scales(),
                     sampling_.has_seen(), sampling_.has_banned()},
                    step);
  } else {
    step();
  }
  AWQ_TRY(ran);
  AWQ_TRY(sampling_.Fetch(*context_, drawn));
  return true;
}

float* DeviceNetwork::Multiply(const void* normed, std::size_t rows) {
  float* const logits = logits_.Take<float>(*context_, rows * config().vocab_size);
  head_.Apply(*context_, normed, rows, logits);
  return logits;
}

bool DeviceNetwork::IsAll(std::span<const std::size_t> rows) const {
  for (std::size_t i = 0; i < rows.size(); ++i) {
    AWQ_CHECK_LT(rows[i], steps_->tokens());
    if (rows[i] != i) return false;
  }
  return rows.size() == steps_->tokens();
}

const void* DeviceNetwork::NormedRows(std::span<const std::size_t> rows) {
  if (IsAll(rows)) return normed_;
  const std::vector<std::int32_t> wanted(rows.begin(), rows.end());
  auto* const list = rows_.Take<std::int32_t>(*context_, rows.size());
  context_->lane().Upload(wanted.data(), wanted.size() * sizeof(std::int32_t), list);
  return Normalize(steps_->hidden(), list, rows.size(), norm_.data<float>());
}

Status DeviceNetwork::LogitsOf(std::span<const std::size_t> rows, MatrixView<float> logits) {
  AWQ_CHECK_EQ(rows.size(), logits.rows);
  Download(Multiply(NormedRows(rows), rows.size()), logits);
  return context_->Synchronize();
}

const void* DeviceNetwork::Normalize(float* hidden, const std::int32_t* rows, std::size_t count,
                                     const float* norm) {
  cuda::NormTask task;
  task.hidden = hidden;
  task.weight = norm;
  task.eps = static_cast<float>(config().rms_norm_eps);
  task.width = static_cast<int>(config().hidden_size);
  task.rows = rows;
  task.tokens = static_cast<int>(count);
  task.out = {other_normed_.Take<std::uint16_t>(*context_, count * config().hidden_size),
              element()};
  context_->Do([&] { return cuda::AddNorm(task, context_->stream()); });
  return task.out.data;
}

Status DeviceNetwork::RunBlocks(const Batch& batch, KvCache& cache, MatrixView<float> hidden) {
  AWQ_TRY(cache.Reserve(batch));
  AWQ_CHECK_EQ(hidden.rows, TokensOf(batch));
  steps_->Begin(batch, cache);
  Upload(hidden, steps_->hidden());
  AWQ_TRY(RunLoaded());
  Download(steps_->hidden(), hidden);
  return context_->Synchronize();
}

Status DeviceNetwork::RunBlock(std::size_t layer, std::span<const Batch> batches, KvCache& cache,
                               MatrixView<float> hidden, Observer* observer) {
  AWQ_CHECK(observer == nullptr);
  AWQ_ASSIGN(const Block* block, Loaded(layer));
  std::size_t row = 0;
  for (const Batch& batch : batches) {
    AWQ_TRY(cache.Reserve(batch));
    const MatrixView<float> rows = hidden.Rows(row, TokensOf(batch));
    steps_->Begin(batch, cache);
    Upload(rows, steps_->hidden());
    steps_->Run(*block, layer, 0);
    (void)steps_->Finish(norm_.data<float>());
    Download(steps_->hidden(), rows);
    row += rows.rows;
  }
  return context_->Synchronize();
}

Status DeviceNetwork::Logits(MatrixView<const float> hidden, const std::vector<float>& final_norm,
                             MatrixView<float> logits) {
  auto* const rows = other_hidden_.Take<float>(*context_, hidden.rows * hidden.cols);
  auto* const norm = other_norm_.Take<float>(*context_, final_norm.size());
  Upload(hidden, rows);
  Upload({final_norm.data(), 1, final_norm.size()}, norm);
  Download(Multiply(Normalize(rows, nullptr, hidden.rows, norm), hidden.rows), logits);
  return context_->Synchronize();
}

}  // namespace awq::transformer::gpu
