#include "pipeline/walk.h"

#include <algorithm>
#include <chrono>
#include <type_traits>
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

// Adds what it lives through to a sum.
class Timer {
 public:
  explicit Timer(double& seconds) : seconds_(seconds) {}
  ~Timer() { seconds_ += SecondsSince(start_); }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

 private:
  double& seconds_;
  Clock::time_point start_ = Clock::now();
};

}  // namespace

Walk::Walk(ThreadPool& pool, const checkpoint::StoredModel& model,
           const Matrix<std::int32_t>& tokens, math::Precision precision,
           std::vector<Variant*> variants, ProgressSink* progress)
    : pool_(pool),
      model_(model),
      config_(model.config()),
      tokens_(tokens),
      precision_(precision),
      variants_(std::move(variants)),
      progress_(progress),
      runner_(pool, config_, precision,
              std::vector<std::size_t>(Any(Calibrates) ? tokens.rows() : 0, tokens.cols())),
      x_(precision),
      quantized_x_(precision),
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

void Walk::ReleaseScratch() {
  runner_.ReleaseScratch();
  x_ = kernels::Activations(precision_);
  quantized_x_ = kernels::Activations(precision_);
}

Status Walk::Begin() {
  AWQ_TRY(CheckRest(pool_, model_));
  const auto embed = [&](std::optional<HiddenStore>& states) -> Status {
    AWQ_ASSIGN(states, HiddenStore::Create(precision_, tokens_.size(), config_.hidden_size));
    AWQ_ASSIGN(const TensorView embedding, model_.Embedding());
    return runner_.Embed(embedding, tokens_.span(), *states);
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
  transformer::PreparedBlock original;
  Matrix<float> sample(std::min(kFoldSampleTokens, tokens_.cols()), config_.hidden_size);
  if (follows_original()) {
    AWQ_ASSIGN(original, transformer::Prepare(pool_, weights, precision_));
    // The fold is checked on the block's own inputs, before the pass replaces them.
    original_->Load(pool_, 0, sample);
  }
  SequentialBlocks blocks(variants_.size());
  for (std::size_t v = 0; v < variants_.size(); ++v) {
    variants_[v]->report = {};
    if (!IsSequential(*variants_[v]->method)) continue;
    blocks[v] = std::make_unique<SequentialBlock>(
        pool_, config_, variants_[v]->plan, *variants_[v]->method, precision_, layer_, weights);
    AWQ_TRY(blocks[v]->Begin());
    if (variants_[v]->method->polish.epochs > 0) {
      AWQ_ASSIGN(variants_[v]->entered, variants_[v]->states->Copy());
    }
  }
  BlockStatistics statistics;
  if (Any(Calibrates)) {
    std::size_t pass = 0;
    for (const model::SiteRow& site : config_.arch->sites) {
      Gathering gathering = BeginSite(site, original);
      for (const SequenceRunner::Group& group : runner_.groups()) {
        GatherGroup(site, group, original, blocks, gathering);
        Progress(pass, group.first_token + group.tokens);
      }
      ++pass;
      AWQ_TRY(SolveSite(site, std::move(gathering), blocks, statistics));
    }
  }
  // Deciding wants the memory that running held.
  original = {};
  ReleaseScratch();
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
    AWQ_ASSIGN(const transformer::PreparedBlock original,
               transformer::Prepare(pool_, weights, precision_));
    runner_.Run(original, layer_, *original_);
  }
  for (Variant* variant : variants_) {
    if (!IsSequential(*variant->method)) continue;
    AWQ_ASSIGN(const StoredBlock stored, read());
    runner_.Run(PrepareBlock(pool_, config_, stored, precision_), layer_, *variant->states);
  }
  model_.Release(layer_);
  ++layer_;
  Progress(0, 0);
  return {};
}

Walk::Gathering Walk::BeginSite(const model::SiteRow& site,
                                const transformer::PreparedBlock& original) const {
  const Role reader = site.readers.front();
  const std::size_t width = variants_.front()->plan.linear(reader).in_features;
  const auto make = [&] {
    return std::make_unique<search::StatisticsAccumulator>(width, search::Gather::kSequential);
  };
  Gathering gathering;
  if (Any(ReadsOriginal)) gathering.original = make();
  for (const Variant* variant : variants_) {
    gathering.sequential.push_back(IsSequential(*variant->method) ? make() : nullptr);
    if (!variant->method->carries_targets() || site.readers.size() > 1) continue;
    const kernels::Linear& linear = original.linear(reader);
    if (width <= 2 * linear.out_features()) continue;
    if (precision_ == math::Precision::kBF16) {
      gathering.sequential.back()->Project(linear.bf16());
    } else {
      gathering.sequential.back()->Project(linear.f32());
    }
  }
  return gathering;
}

void Walk::GatherGroup(const model::SiteRow& site, const SequenceRunner::Group& group,
                       const transformer::PreparedBlock& original, const SequentialBlocks& blocks,
                       Gathering& gathering) {
  const Role reader = site.readers.front();
  if (follows_original()) {
    const Timer timer(shared_seconds_);
    runner_.MakeInput(original, layer_, reader, group, *original_, x_);
    if (reader == Role::kO || reader == Role::kDown) {
      runner_.AddOutput(original, reader, group, x_, *original_);
    }
  }
  if (gathering.original) {
    const Timer timer(statistics_seconds_);
    Add(group, x_, nullptr, *gathering.original);
  }
  for (std::size_t v = 0; v < variants_.size(); ++v) {
    if (!blocks[v]) continue;
    Variant& variant = *variants_[v];
    const Timer timer(variant.seconds);
    const transformer::PreparedBlock& block = blocks[v]->prepared();
    if (reader == Role::kGate) {  // o is quantized by now: the first half can be left behind
      runner_.MakeInput(block, layer_, Role::kO, group, *variant.states, quantized_x_);
      runner_.AddOutput(block, Role::kO, group, quantized_x_, *variant.states);
    }
    runner_.MakeInput(block, layer_, reader, group, *variant.states, quantized_x_);
    Add(group, quantized_x_, variant.method->carries_targets() ? &x_ : nullptr,
        *gathering.sequential[v]);
  }
}

void Walk::Add(const SequenceRunner::Group& group, const kernels::Activations& x,
               const kernels::Activations* targets, search::StatisticsAccumulator& to) {
  if (precision_ == math::Precision::kBF16) {
    AddRows(group.first_token, x.bf16(), targets ? targets->bf16() : MatrixView<const BF16>(), to);
  } else {
    AddRows(group.first_token, x.f32(), targets ? targets->f32() : MatrixView<const float>(), to);
  }
}

template <class T>
void Walk::AddRows(std::size_t first_token, MatrixView<const T> x, MatrixView<const T> targets,
                   search::StatisticsAccumulator& to) {
  const bool paired = targets.rows > 0;
  const std::size_t spared_from =
      std::clamp(held_out_.first_token, first_token, first_token + x.rows) - first_token;
  const std::size_t counted = held_out_.counted ? x.rows : spared_from;
  if (paired && counted > 0) to.Add(pool_, x.Rows(0, counted), targets.Rows(0, counted));
  if (!paired && counted > 0) to.Add(pool_, x.Rows(0, counted));
  if (spared_from == x.rows) return;
  // The first token from there on that is a whole number of steps after held_out_.first_token.
  const std::size_t done = first_token + spared_from - held_out_.first_token;
  const std::size_t first = spared_from + RoundUp(done, held_out_.step) - done;
  if (first >= x.rows) return;
  const auto every = [&](MatrixView<const T> rows) {
    if (rows.rows == 0) return rows;
    return MatrixView<const T>(rows.row(first), CeilDiv(rows.rows - first, held_out_.step),
                               rows.cols, rows.stride * held_out_.step);
  };
  to.HoldOut(every(x), every(targets));
}

Status Walk::SolveSite(const model::SiteRow& site, Gathering gathering, SequentialBlocks& blocks,
                       BlockStatistics& original) {
  if (gathering.original) {
    const Timer timer(statistics_seconds_);
    AWQ_ASSIGN(search::SiteStatistics statistics,
               calib::FinishSite(std::move(*gathering.original), block_name()));
    original.emplace(site.readers.front(), std::move(statistics));
  }
  if (Any(IsSequential)) ReleaseScratch();
  for (std::size_t v = 0; v < variants_.size(); ++v) {
    if (!blocks[v]) continue;
    const Timer timer(variants_[v]->seconds);
    AWQ_ASSIGN(search::SiteStatistics statistics,
               calib::FinishSite(std::move(*gathering.sequential[v]), block_name()));
    gathering.sequential[v].reset();
    AWQ_TRY(blocks[v]->Solve(site, std::move(statistics), variants_[v]->report));
  }
  return {};
}

Status Walk::Finish(const model::BlockWeights& weights, SequentialBlocks& blocks,
                    const BlockStatistics& original, const Matrix<float>& sample) {
  std::size_t pass = config_.arch->sites.size();
  for (std::size_t v = 0; v < variants_.size(); ++v) {
    Variant& variant = *variants_[v];
    const Timer timer(variant.seconds);
    FoldPlan fold;
    if (blocks[v]) {
      fold = blocks[v]->fold();
      if (!variant.entered) {
        runner_.RunHalf(blocks[v]->prepared(), layer_, Role::kDown, *variant.states);
      }
      variant.block = blocks[v]->TakeStored();
      blocks[v].reset();
      if (variant.entered) {
        PolishBlock(variant, pass);
        pass += PolishPasses(*variant.method);
      }
    } else {
      AWQ_ASSIGN(PublishedBlock published,
                 QuantizePublished(pool_, config_, variant.plan, *variant.method, layer_, weights,
                                   original, variant.report));
      fold = std::move(published.fold);
      variant.block = std::move(published.stored);
    }
    if (!follows_original() || fold.empty()) continue;
    AWQ_ASSIGN(variant.report.fold_difference,
               VerifyFold(pool_, config_, layer_, weights, fold, sample));
  }
  return {};
}

void Walk::PolishBlock(Variant& variant, std::size_t first_pass) {
  variant.states = std::move(variant.entered);
  variant.entered.reset();
  const PolishTask task{
      .config = &config_,
      .layer = layer_,
      .sequences = tokens_.rows(),
      .sequence_tokens = tokens_.cols(),
      .held_out_sequences =
          held_out_.counted ? 0 : tokens_.rows() - held_out_.first_token / tokens_.cols(),
      .inputs = &*variant.states,
      .targets = &*original_,
      .on_progress = [&](std::size_t epoch, std::size_t tokens) {
        Progress(first_pass + kPassesPerEpoch * epoch, kPassesPerEpoch * tokens);
      }};
  variant.report.polish = Polish(pool_, task, variant.method->polish, variant.block);
  const transformer::PreparedBlock block = PrepareBlock(pool_, config_, variant.block, precision_);
  runner_.Run(block, layer_, *variant.states);
}

void Walk::Progress(std::size_t pass, std::size_t tokens) {
  if (progress_ == nullptr) return;
  // A block is as many passes as it has sites, one for what is decided after them, and what it
  // takes to polish it, in one way after another.
  std::size_t passes = config_.arch->sites.size() + 1;
  for (const Variant* variant : variants_) passes += PolishPasses(*variant->method);
  const std::size_t per_pass = std::max<std::size_t>(1, runner_.tokens());
  Report(progress_, "quantizing", layer_ * passes * per_pass + pass * per_pass + tokens,
         config_.num_hidden_layers * passes * per_pass, "tokens");
}

}  // namespace awq::pipeline
