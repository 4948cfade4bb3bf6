#include "pipeline/walk.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "calib/collector.h"
#include "pipeline/check.h"
#include "pipeline/dense.h"
#include "pipeline/final_norm.h"

namespace awq::pipeline {
namespace {

using model::Role;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kFoldSampleTokens = 64;
constexpr std::size_t kSequencesPerHeldOut = 32;
constexpr std::size_t kFewSequences = 8;
constexpr std::size_t kPassesPerEpoch = 3;  // forward, and twice as much back

bool Calibrates(const Method& method) { return method.calibrates(); }
bool ReadsOriginal(const Method& method) { return method.inputs == Inputs::kOriginal; }
bool IsSequential(const Method& method) { return method.inputs == Inputs::kSequential; }
bool CarriesTargets(const Method& method) { return method.carries_targets(); }

std::size_t PolishPasses(const Method& method) { return kPassesPerEpoch * method.polish.epochs; }

// Adds what it lives through to a sum, with what was asked for meanwhile.
class Timer {
 public:
  Timer(Compute& compute, double& seconds) : compute_(compute), seconds_(seconds) {}
  ~Timer() {
    (void)compute_.Wait();  // whoever needs what came of it asks again
    seconds_ += SecondsSince(start_);
  }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

 private:
  Compute& compute_;
  double& seconds_;
  Clock::time_point start_ = Clock::now();
};

}  // namespace

Walk::Walk(ThreadPool& pool, Compute& compute, const checkpoint::StoredModel& model,
           const Matrix<std::int32_t>& tokens, math::Precision precision,
           std::vector<Variant*> variants, ProgressSink* progress)
    : pool_(pool),
      compute_(compute),
      model_(model),
      config_(model.config()),
      tokens_(tokens),
      precision_(precision),
      variants_(std::move(variants)),
      progress_(progress),
      held_out_(ChooseHeldOut()) {}

bool Walk::Any(bool (*is)(const Method&)) const {
  return std::ranges::any_of(variants_, [&](const Variant* v) { return is(*v->method); });
}

bool Walk::follows_original() const { return Any(ReadsOriginal) || Any(CarriesTargets); }

std::string Walk::block_name() const { return fmt::format("block {}", layer_); }

Walk::HeldOut Walk::ChooseHeldOut() const {
  const std::size_t sequences = tokens_.rows();
  const bool few = sequences < kFewSequences;
  const std::size_t kept = few ? sequences : CeilDiv(sequences, kSequencesPerHeldOut);
  return {.first_token = (sequences - kept) * tokens_.cols(),
          .step = std::max<std::size_t>(1, CeilDiv(kept * tokens_.cols(), kHeldOutRows)),
          .counted = few};
}

double Walk::shared_seconds(const Method& method) const {
  if (ReadsOriginal(method)) return shared_seconds_ + statistics_seconds_;
  return CarriesTargets(method) ? shared_seconds_ : 0;
}

Result<std::vector<F16>> Walk::FinalNorm(const Variant& variant) {
  AWQ_CHECK_EQ(layer_, config_.num_hidden_layers);
  AWQ_ASSIGN(const TensorView norm, model_.FinalNorm());
  std::vector<float> weight = transformer::ToFloats(norm);
  if (variant.method->carries_targets()) {
    RefitNorm(pool_, config_, tokens_.size(), *original_, *variant.states, weight);
  }
  std::vector<F16> stored(weight.size());
  AWQ_TRY(ToHalves(weight, std::string(config_.arch->final_norm) + ".weight", stored));
  return stored;
}

std::size_t Walk::held_out_tokens() const {
  if (!Any(Calibrates) || held_out_.counted) return 0;
  return CeilDiv(tokens_.size() - held_out_.first_token, held_out_.step);
}

Status Walk::Begin() {
  AWQ_TRY(CheckRest(pool_, model_));
  const std::vector<std::size_t> lengths(Any(Calibrates) ? tokens_.rows() : 0, tokens_.cols());
  AWQ_ASSIGN(sequences_, compute_.MakeSequences(lengths, {.states = precision_}));
  const auto embed = [&](std::unique_ptr<HiddenStates>& states) -> Status {
    AWQ_ASSIGN(const TensorView embedding, model_.Embedding());
    AWQ_ASSIGN(states, sequences_->Embed(embedding, tokens_.span()));
    return {};
  };
  if (follows_original()) AWQ_TRY(embed(original_));
  for (Variant* variant : variants_) {
    if (IsSequential(*variant->method)) AWQ_TRY(embed(variant->states));
  }
  model_.ReleaseAll();
  return {};
}

Status Walk::QuantizeBlock() {
  AWQ_ASSIGN(const model::BlockWeights weights, model_.Block(layer_));
  AWQ_TRY(CheckBlock(pool_, model_, layer_, weights));
  BlockPtr original;
  Matrix<float> sample(std::min(kFoldSampleTokens, tokens_.cols()), config_.hidden_size);
  if (follows_original()) {
    AWQ_ASSIGN(original, compute_.Prepare(weights));
    // The fold is checked on the block's own inputs, before the pass replaces them.
    original_->Load(pool_, 0, sample);
  }
  SequentialBlocks blocks(variants_.size());
  for (std::size_t v = 0; v < variants_.size(); ++v) {
    variants_[v]->report = {};
    if (!IsSequential(*variants_[v]->method)) continue;
    blocks[v] = std::make_unique<SequentialBlock>(pool_, compute_, config_, variants_[v]->plan,
                                                  *variants_[v]->method, layer_, weights);
    AWQ_TRY(blocks[v]->Begin());
    if (variants_[v]->method->polish.epochs > 0) {
      AWQ_ASSIGN(variants_[v]->entered, sequences_->Copy(*variants_[v]->states));
    }
  }
  BlockStatistics statistics;
  if (Any(Calibrates)) {
    std::size_t pass = 0;
    for (const model::SiteRow& site : config_.arch->sites) {
      Gathering gathering = BeginSite(site, original.get());
      for (const Sequences::Group& group : sequences_->groups()) {
        GatherGroup(site, group, original.get(), blocks, gathering);
        Progress(pass, group.first_token + group.tokens);
      }
      AWQ_TRY(compute_.Wait());
      ++pass;
      AWQ_TRY(SolveSite(site, std::move(gathering), blocks, statistics));
    }
  }
  // Deciding wants the memory that running held.
  original.reset();
  sequences_->ReleaseScratch();
  AWQ_TRY(Finish(weights, blocks, statistics, sample));
  model_.Release(layer_);
  ++layer_;
  Progress(0, 0);
  return {};
}

Status Walk::TakeBlock(const std::function<Result<StoredBlock>()>& read) {
  AWQ_ASSIGN(const model::BlockWeights weights, model_.Block(layer_));
  AWQ_TRY(CheckBlock(pool_, model_, layer_, weights));
  if (follows_original()) {
    AWQ_ASSIGN(const BlockPtr original, compute_.Prepare(weights));
    sequences_->Run(*original, layer_, *original_);
    AWQ_TRY(compute_.Wait());
  }
  for (Variant* variant : variants_) {
    if (!IsSequential(*variant->method)) continue;
    AWQ_ASSIGN(const StoredBlock stored, read());
    AWQ_ASSIGN(const BlockPtr block, MakeBlock(compute_, config_, stored));
    sequences_->Run(*block, layer_, *variant->states);
    AWQ_TRY(compute_.Wait());
  }
  model_.Release(layer_);
  ++layer_;
  Progress(0, 0);
  return {};
}

Walk::Gathering Walk::BeginSite(const model::SiteRow& site, const RunnableBlock* original) {
  const std::size_t width = variants_.front()->plan.linear(site.readers.front()).in_features;
  Gathering gathering;
  if (Any(ReadsOriginal)) gathering.original = compute_.BeginSite(site, width, nullptr);
  for (const Variant* variant : variants_) {
    const RunnableBlock* const paired = variant->method->carries_targets() ? original : nullptr;
    gathering.sequential.push_back(
        IsSequential(*variant->method) ? compute_.BeginSite(site, width, paired) : nullptr);
  }
  return gathering;
}

void Walk::GatherGroup(const model::SiteRow& site, const Sequences::Group& group,
                       const RunnableBlock* original, const SequentialBlocks& blocks,
                       Gathering& gathering) {
  const Role reader = site.readers.front();
  const TokenShare share = ShareOf(group);
  if (follows_original()) {
    const Timer timer(compute_, shared_seconds_);
    sequences_->MakeInput(*original, layer_, reader, group, *original_, Side::kOriginal);
    if (reader == Role::kO || reader == Role::kDown) {
      sequences_->AddOutput(*original, reader, group, Side::kOriginal, *original_);
    }
  }
  if (gathering.original) {
    const Timer timer(compute_, statistics_seconds_);
    sequences_->Gather(Side::kOriginal, /*paired=*/false, share, *gathering.original);
  }
  for (std::size_t v = 0; v < variants_.size(); ++v) {
    if (!blocks[v]) continue;
    Variant& variant = *variants_[v];
    const Timer timer(compute_, variant.seconds);
    const RunnableBlock& block = blocks[v]->prepared();
    const auto make_input = [&](Role of) {
      sequences_->MakeInput(block, layer_, of, group, *variant.states, Side::kQuantized);
    };
    if (reader == Role::kGate) {  // o is quantized by now: the first half can be left behind
      make_input(Role::kO);
      sequences_->AddOutput(block, Role::kO, group, Side::kQuantized, *variant.states);
    }
    make_input(reader);
    sequences_->Gather(Side::kQuantized, variant.method->carries_targets(), share,
                       *gathering.sequential[v]);
  }
}

TokenShare Walk::ShareOf(const Sequences::Group& group) const {
  const std::size_t first = group.first_token;
  const std::size_t spared_from =
      std::clamp(held_out_.first_token, first, first + group.tokens) - first;
  TokenShare share;
  share.counted = held_out_.counted ? group.tokens : spared_from;
  share.step = held_out_.step;
  if (spared_from == group.tokens) return share;
  // The first token from there on that is a whole number of steps after held_out_.first_token.
  const std::size_t done = first + spared_from - held_out_.first_token;
  share.held = spared_from + RoundUp(done, held_out_.step) - done;
  return share;
}

Status Walk::SolveSite(const model::SiteRow& site, Gathering gathering, SequentialBlocks& blocks,
                       BlockStatistics& original) {
  if (gathering.original) {
    const Timer timer(compute_, statistics_seconds_);
    AWQ_TRY(calib::CheckFinite(gathering.original->CountNonfinite(), block_name()));
    original.emplace(site.readers.front(), std::move(gathering.original));
  }
  if (Any(IsSequential)) sequences_->ReleaseScratch();
  for (std::size_t v = 0; v < variants_.size(); ++v) {
    if (!blocks[v]) continue;
    const Timer timer(compute_, variants_[v]->seconds);
    search::SiteGathering& gathered = *gathering.sequential[v];
    AWQ_TRY(calib::CheckFinite(gathered.CountNonfinite(), block_name()));
    AWQ_TRY(blocks[v]->Solve(site, gathered, variants_[v]->report));
    gathering.sequential[v].reset();
  }
  return {};
}

Status Walk::Finish(const model::BlockWeights& weights, SequentialBlocks& blocks,
                    const BlockStatistics& original, const Matrix<float>& sample) {
  std::size_t pass = config_.arch->sites.size();
  for (std::size_t v = 0; v < variants_.size(); ++v) {
    Variant& variant = *variants_[v];
    const Timer timer(compute_, variant.seconds);
    FoldPlan fold;
    if (blocks[v]) {
      fold = blocks[v]->fold();
      if (!variant.entered) {
        sequences_->RunHalf(blocks[v]->prepared(), layer_, Role::kDown, *variant.states);
      }
      variant.block = blocks[v]->TakeStored();
      blocks[v].reset();
      if (variant.entered) {
        AWQ_TRY(PolishBlock(variant, pass));
        pass += PolishPasses(*variant.method);
      }
    } else {
      AWQ_ASSIGN(PublishedBlock published,
                 QuantizePublished(pool_, config_, variant.plan, *variant.method, layer_, weights,
                                   original, variant.report));
      AWQ_TRY(compute_.Wait());
      fold = std::move(published.fold);
      variant.block = std::move(published.stored);
    }
    if (!follows_original() || fold.empty()) continue;
    AWQ_ASSIGN(variant.report.fold_difference,
               VerifyFold(pool_, config_, layer_, weights, fold, sample));
  }
  return {};
}

Status Walk::PolishBlock(Variant& variant, std::size_t first_pass) {
  variant.states = std::move(variant.entered);
  variant.entered.reset();
  const PolishTask task{
      .config = &config_,
      .layer = layer_,
      .sequences = tokens_.rows(),
      .sequence_tokens = tokens_.cols(),
      .held_out_sequences =
          held_out_.counted ? 0 : tokens_.rows() - held_out_.first_token / tokens_.cols(),
      .inputs = variant.states.get(),
      .targets = original_.get(),
      .on_progress = [&](std::size_t epoch, std::size_t tokens) {
        Progress(first_pass + kPassesPerEpoch * epoch, kPassesPerEpoch * tokens);
      }};
  variant.report.polish = Polish(pool_, task, variant.method->polish, variant.block);
  AWQ_ASSIGN(const BlockPtr block, MakeBlock(compute_, config_, variant.block));
  sequences_->Run(*block, layer_, *variant.states);
  return compute_.Wait();
}

void Walk::Progress(std::size_t pass, std::size_t tokens) {
  if (progress_ == nullptr) return;
  // A block is as many passes as it has sites, one for what is decided after them, and what it
  // takes to polish it, in one way after another.
  std::size_t passes = config_.arch->sites.size() + 1;
  for (const Variant* variant : variants_) passes += PolishPasses(*variant->method);
  const std::size_t per_pass = std::max<std::size_t>(1, sequences_->tokens());
  Report(progress_, "quantizing", layer_ * passes * per_pass + pass * per_pass + tokens,
         config_.num_hidden_layers * passes * per_pass, "tokens");
}

}  // namespace awq::pipeline
