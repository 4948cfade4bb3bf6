#include "pipeline/host_compute.h"

#include <utility>

#include "base/error.h"
#include "pipeline/hidden_store.h"
#include "transformer/embedding.h"

namespace awq::pipeline {
namespace {

using model::Role;

class HostBlock final : public RunnableBlock {
 public:
  HostBlock(ThreadPool& pool, math::Precision precision, kernels::Packed packed)
      : pool_(pool), precision_(precision), packed_(packed) {}

  Status SetLinear(Role role, const StoredLinear& linear) override {
    prepared.linear(role) = PrepareLinear(pool_, linear, precision_, packed_);
    return {};
  }
  Status SetNorm(Role role, const std::vector<F16>& norm) override {
    prepared.norm(role) = PrepareNorm(norm);
    return {};
  }

  transformer::PreparedBlock prepared;

 private:
  ThreadPool& pool_;
  math::Precision precision_;
  kernels::Packed packed_;
};

const transformer::PreparedBlock& Of(const RunnableBlock& block) {
  return dynamic_cast<const HostBlock&>(block).prepared;
}
HiddenStore& Of(HiddenStates& states) { return dynamic_cast<HiddenStore&>(states); }

// Every step-th row from `first` on.
template <class T>
MatrixView<const T> Every(MatrixView<const T> rows, std::size_t first, std::size_t step) {
  if (rows.rows == 0) return rows;
  return {rows.row(first), CeilDiv(rows.rows - first, step), rows.cols, rows.stride * step};
}

template <class T>
void AddRows(ThreadPool& pool, MatrixView<const T> x, MatrixView<const T> targets,
             const TokenShare& share, search::StatisticsAccumulator& to) {
  const std::size_t counted = share.counted;
  if (counted > 0 && targets.rows > 0) {
    to.Add(pool, x.Rows(0, counted), targets.Rows(0, counted));
  } else if (counted > 0) {
    to.Add(pool, x.Rows(0, counted));
  }
  if (share.held >= x.rows) return;
  to.HoldOut(Every(x, share.held, share.step), Every(targets, share.held, share.step));
}

class HostSequences final : public Sequences {
 public:
  HostSequences(ThreadPool& pool, const model::ModelConfig& config, math::Precision precision,
                std::span<const std::size_t> sequence_tokens, const SequencesOptions& options)
      : Sequences(sequence_tokens),
        pool_(pool),
        config_(config),
        precision_(precision),
        options_(options),
        rope_(config, capacity().longest_tokens),
        runner_(pool, config, rope_, precision, options.packed),
        cache_(config, precision,
               {.layers = 1,
                .slots = capacity().slots,
                .capacity_tokens = capacity().longest_tokens,
                .page_tokens = capacity().longest_tokens}),
        hidden_(capacity().group_tokens, config.hidden_size) {
    HostSequences::ReleaseScratch();
  }

  Result<std::unique_ptr<HiddenStates>> Embed(const TensorView& embedding,
                                              std::span<const std::int32_t> ids) override {
    AWQ_CHECK_EQ(ids.size(), tokens());
    AWQ_ASSIGN(HiddenStore store,
               HiddenStore::Create(options_.states, tokens(), config_.hidden_size));
    auto states = std::make_unique<HiddenStore>(std::move(store));
    for (const Group& group : groups()) {
      AWQ_TRY(
          transformer::Embed(embedding, ids.subspan(group.first_token, group.tokens), Rows(group)));
      states->Store(pool_, group.first_token, Rows(group));
    }
    return std::unique_ptr<HiddenStates>(std::move(states));
  }

  Result<std::unique_ptr<HiddenStates>> Copy(const HiddenStates& states) override {
    AWQ_ASSIGN(HiddenStore copy, dynamic_cast<const HiddenStore&>(states).Copy());
    return std::unique_ptr<HiddenStates>(std::make_unique<HiddenStore>(std::move(copy)));
  }

  void MakeInput(const RunnableBlock& block, std::size_t layer, Role reader, const Group& group,
                 const HiddenStates& states, Side side) override {
    states.Load(pool_, group.first_token, Rows(group));
    runner_.MakeInput(Of(block), reader, {layer, 0}, group.batch, cache_, Rows(group), Input(side));
  }

  void AddOutput(const RunnableBlock& block, Role reader, const Group& group, Side side,
                 HiddenStates& states) override {
    runner_.AddOutput(Of(block), reader, Input(side), Rows(group));
    Of(states).Store(pool_, group.first_token, Rows(group));
  }

  void Gather(Side side, bool paired, const TokenShare& share, search::SiteGathering& to) override {
    auto& sums = dynamic_cast<search::HostGathering&>(to).sums();
    const kernels::Activations& x = Input(side);
    const kernels::Activations& targets = Input(Side::kOriginal);
    if (precision_ == math::Precision::kBF16) {
      AddRows(pool_, x.bf16(), paired ? targets.bf16() : MatrixView<const BF16>(), share, sums);
    } else {
      AddRows(pool_, x.f32(), paired ? targets.f32() : MatrixView<const float>(), share, sums);
    }
  }

  void ReleaseScratch() override {
    runner_.ReleaseScratch();
    for (auto& input : inputs_) input = kernels::Activations(precision_, options_.packed);
  }

 private:
  kernels::Activations& Input(Side side) { return inputs_[static_cast<std::size_t>(side)]; }
  MatrixView<float> Rows(const Group& group) { return hidden_.view().Rows(0, group.tokens); }

  ThreadPool& pool_;
  const model::ModelConfig& config_;
  math::Precision precision_;
  SequencesOptions options_;
  transformer::RopeTable rope_;
  transformer::BlockRunner runner_;
  transformer::KvCache cache_;
  std::array<kernels::Activations, 2> inputs_ = {kernels::Activations(precision_),
                                                 kernels::Activations(precision_)};
  Matrix<float> hidden_;  // of one group
};

}  // namespace

Result<std::unique_ptr<Sequences>> HostCompute::MakeSequences(
    std::span<const std::size_t> sequence_tokens, const SequencesOptions& options) {
  return std::unique_ptr<Sequences>(
      std::make_unique<HostSequences>(pool_, config_, precision_, sequence_tokens, options));
}

Result<BlockPtr> HostCompute::Prepare(const model::BlockWeights& weights) {
  auto block = std::make_unique<HostBlock>(pool_, precision_, kernels::Packed::kDense);
  AWQ_ASSIGN(block->prepared, transformer::Prepare(pool_, weights, precision_));
  return BlockPtr(std::move(block));
}

BlockPtr HostCompute::NewBlock(kernels::Packed packed) {
  return std::make_unique<HostBlock>(pool_, precision_, packed);
}

std::unique_ptr<search::SiteGathering> HostCompute::BeginSite(const model::SiteRow& site,
                                                              std::size_t width,
                                                              const RunnableBlock* paired) {
  auto gathering = std::make_unique<search::HostGathering>(pool_, width);
  if (paired == nullptr || site.readers.size() > 1) return gathering;
  const kernels::Linear& linear = Of(*paired).linear(site.readers.front());
  if (width <= 2 * linear.out_features()) return gathering;
  if (precision_ == math::Precision::kBF16) {
    gathering->sums().Project(linear.bf16());
  } else {
    gathering->sums().Project(linear.f32());
  }
  return gathering;
}

}  // namespace awq::pipeline
