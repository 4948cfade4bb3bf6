#include "pipeline/gpu/compute.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>

#include "base/error.h"
#include "cuda/copy.h"
#include "search/gpu/gathering.h"
#include "transformer/embedding.h"
#include "transformer/gpu/block.h"
#include "transformer/rope.h"

namespace awq::pipeline::gpu {
namespace {

namespace device = transformer::gpu;
using model::Role;
using search::gpu::Buffer;
using search::gpu::Queue;

constexpr auto kPrecision = math::Precision::kBF16;
constexpr auto kType = cuda::Element::kBF16;

class DeviceStates final : public HiddenStates {
 public:
  DeviceStates(Queue& queue, std::size_t tokens, std::size_t width)
      : queue_(queue), width_(width), rows_(queue.Take<float>(tokens * width)) {}

  float* row(std::size_t token) const { return rows_.data<float>() + token * width_; }
  void Load(ThreadPool& /*pool*/, std::size_t first, MatrixView<float> rows) const override {
    queue_.Do([&] {
      return cuda::CopyToHost(rows.data, row(first), rows.rows * width_ * sizeof(float),
                              queue_.stream());
    });
    queue_.Wait();
  }

 private:
  Queue& queue_;
  std::size_t width_;
  Buffer rows_;  // fp32 [tokens, width]
};

class DeviceBlock final : public RunnableBlock {
 public:
  // Codes stay codes where it is packed.
  DeviceBlock(device::Context& context, ThreadPool& pool, const model::ModelConfig& config,
              bool is_packed)
      : block(device::EmptyBlock(config)), context_(context), pool_(pool), is_packed_(is_packed) {}

  Status SetLinear(Role role, const StoredLinear& linear) override {
    if (is_packed_ && linear.quantized && linear.kept.empty()) {
      AWQ_ASSIGN(const bool done, block.SetCodes(context_, pool_, role, *linear.quantized));
      if (done) {
        block.SetBias(context_, role, PrepareNorm(linear.bias));
        return context_.status();
      }
    }
    return block.SetLinear(context_, role, PrepareLinear(pool_, linear, kPrecision));
  }
  Status SetNorm(Role role, const std::vector<F16>& norm) override {
    return block.SetNorm(context_, role, PrepareNorm(norm));
  }

  device::Block block;

 private:
  device::Context& context_;
  ThreadPool& pool_;
  bool is_packed_;
};

const device::Block& Of(const RunnableBlock& block) {
  return dynamic_cast<const DeviceBlock&>(block).block;
}
const DeviceStates& Of(const HiddenStates& states) {
  return dynamic_cast<const DeviceStates&>(states);
}

// Of sequences, one layer that each group overwrites.
std::unique_ptr<transformer::KvCache> MakeCache(device::Context& context,
                                                const model::ModelConfig& config, std::size_t slots,
                                                std::size_t longest_tokens) {
  transformer::CacheShape shape;
  shape.slots = slots;
  shape.page_tokens = cuda::kPageTokens;
  shape.capacity_tokens = RoundUp(std::max<std::size_t>(longest_tokens, 1), shape.page_tokens);
  shape.pages = slots * shape.capacity_tokens / shape.page_tokens;
  return std::make_unique<transformer::KvCache>(
      config, kPrecision, shape, std::make_unique<device::Pages>(context, config, shape, kType));
}

class DeviceSequences final : public Sequences {
 public:
  DeviceSequences(device::Context& context, Queue& queue, const model::ModelConfig& config,
                  std::span<const std::size_t> sequence_tokens)
      : Sequences(sequence_tokens), queue_(queue), config_(config) {
    const transformer::RopeTable rope(config, capacity().longest_tokens);
    cosines_ = queue.Upload(rope.cosines());
    sines_ = queue.Upload(rope.sines());
    cache_ = MakeCache(context, config, capacity().slots, capacity().longest_tokens);
    for (auto& steps : steps_) {
      steps = std::make_unique<device::Steps>(
          context, config, device::Rope{cosines_.data<float>(), sines_.data<float>()}, kType);
    }
  }

  Result<std::unique_ptr<HiddenStates>> Embed(const TensorView& embedding,
                                              std::span<const std::int32_t> ids) override {
    AWQ_CHECK_EQ(ids.size(), tokens());
    auto states = std::make_unique<DeviceStates>(queue_, tokens(), config_.hidden_size);
    Matrix<float> rows(capacity().group_tokens, config_.hidden_size);
    for (const Group& group : groups()) {
      const MatrixView<float> of_group = rows.view().Rows(0, group.tokens);
      AWQ_TRY(
          transformer::Embed(embedding, ids.subspan(group.first_token, group.tokens), of_group));
      if (queue_.fault()) break;
      queue_.UploadTo(std::span<const float>(of_group.data, group.tokens * config_.hidden_size),
                      states->row(group.first_token));
    }
    if (queue_.fault()) return device::ToError(queue_.fault());
    return std::unique_ptr<HiddenStates>(std::move(states));
  }

  Result<std::unique_ptr<HiddenStates>> Copy(const HiddenStates& states) override {
    auto copy = std::make_unique<DeviceStates>(queue_, tokens(), config_.hidden_size);
    queue_.Do([&] {
      return cuda::CopyOnDevice(copy->row(0), Of(states).row(0),
                                tokens() * config_.hidden_size * sizeof(float), queue_.stream());
    });
    if (queue_.fault()) return device::ToError(queue_.fault());
    return std::unique_ptr<HiddenStates>(std::move(copy));
  }

  void MakeInput(const RunnableBlock& block, std::size_t layer, Role reader, const Group& group,
                 const HiddenStates& states, Side side) override {
    if (queue_.fault()) return;
    const Status reserved = cache_->Reserve(group.batch);
    if (!reserved) return;  // its pages have the lane's fault
    device::Steps& steps = StepsOf(side);
    steps.Begin(group.batch, *cache_, Of(states).row(group.first_token));
    Input(side) = {steps.MakeInput(Of(block), layer, reader), group.tokens};
  }

  void AddOutput(const RunnableBlock& /*block*/, Role reader, const Group& /*group*/, Side side,
                 HiddenStates& /*states*/) override {
    if (!queue_.fault()) StepsOf(side).AddOutputOf(reader);
  }

  void Gather(Side side, bool paired, const TokenShare& share, search::SiteGathering& to) override {
    if (queue_.fault()) return;
    dynamic_cast<search::gpu::DeviceGathering&>(to).Add(
        {.inputs = Input(side).rows,
         .targets = paired ? Input(Side::kOriginal).rows : nullptr,
         .tokens = Input(side).tokens},
        share.counted, share.held, share.step);
  }

  void ReleaseScratch() override { queue_.GiveUpFree(); }

 private:
  struct Rows {
    const void* rows = nullptr;  // bf16
    std::size_t tokens = 0;
  };
  Rows& Input(Side side) { return inputs_[static_cast<std::size_t>(side)]; }
  device::Steps& StepsOf(Side side) { return *steps_[static_cast<std::size_t>(side)]; }

  Queue& queue_;
  const model::ModelConfig& config_;
  Buffer cosines_, sines_;
  std::unique_ptr<transformer::KvCache> cache_;
  std::array<std::unique_ptr<device::Steps>, 2> steps_;
  std::array<Rows, 2> inputs_;
};

class DeviceCompute final : public Compute {
 public:
  DeviceCompute(ThreadPool& pool, const model::ModelConfig& config,
                std::unique_ptr<device::Context> context)
      : pool_(pool), config_(config), context_(std::move(context)), queue_(context_->lane()) {}

  Result<std::unique_ptr<Sequences>> MakeSequences(std::span<const std::size_t> sequence_tokens,
                                                   const SequencesOptions& /*options*/) override {
    auto sequences = std::make_unique<DeviceSequences>(*context_, queue_, config_, sequence_tokens);
    AWQ_TRY(context_->status());
    return std::unique_ptr<Sequences>(std::move(sequences));
  }

  Result<BlockPtr> Prepare(const model::BlockWeights& weights) override {
    AWQ_ASSIGN(const transformer::PreparedBlock prepared,
               transformer::Prepare(pool_, weights, kPrecision));
    auto block = std::make_unique<DeviceBlock>(*context_, pool_, config_, false);
    for (const model::LinearRow& row : config_.arch->linears) {
      AWQ_TRY(block->block.SetLinear(*context_, row.role, prepared.linear(row.role)));
    }
    for (const model::NormRow& row : config_.arch->norms) {
      AWQ_TRY(block->block.SetNorm(*context_, row.role, prepared.norm(row.role)));
    }
    return BlockPtr(std::move(block));
  }

  BlockPtr NewBlock(kernels::Packed packed) override {
    const bool is_packed = packed != kernels::Packed::kDense;
    return std::make_unique<DeviceBlock>(*context_, pool_, config_, is_packed);
  }

  std::unique_ptr<search::SiteGathering> BeginSite(const model::SiteRow& /*site*/,
                                                   std::size_t width,
                                                   const RunnableBlock* paired) override {
    return std::make_unique<search::gpu::DeviceGathering>(pool_, queue_, width, paired != nullptr);
  }

  Status Wait() override {
    const Status done = context_->Synchronize();
    least_free_bytes_ = std::min(least_free_bytes_, FreeBytes());
    return done;
  }
  // What others took meanwhile is counted, and what was taken and given back between two waits is
  // not: but memory of the search is kept until a block is done.
  Use use() const override {
    return {context_->linears().device().name, free_bytes_ - least_free_bytes_};
  }

 private:
  std::size_t FreeBytes() {
    std::size_t free_bytes = 0, total_bytes = 0;
    queue_.Do([&] { return cuda::FreeMemory(&free_bytes, &total_bytes); });
    return free_bytes;
  }

  ThreadPool& pool_;
  const model::ModelConfig& config_;
  std::unique_ptr<device::Context> context_;
  Queue queue_;
  std::size_t free_bytes_ = FreeBytes();
  std::size_t least_free_bytes_ = free_bytes_;
};

}  // namespace

Result<std::unique_ptr<Compute>> MakeCompute(ThreadPool& pool, const model::ModelConfig& config,
                                             int device) {
  AWQ_TRY(device::CheckConfig(config));
  AWQ_ASSIGN(auto context, device::Context::Create(device));
  return std::unique_ptr<Compute>(
      std::make_unique<DeviceCompute>(pool, config, std::move(context)));
}

}  // namespace awq::pipeline::gpu
