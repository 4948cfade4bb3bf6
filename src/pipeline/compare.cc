#include "pipeline/compare.h"

#include <utility>

#include "base/error.h"
#include "pipeline/compute.h"
#include "pipeline/hidden_store.h"
#include "pipeline/memory.h"
#include "pipeline/quantize.h"
#include "pipeline/walk.h"

namespace awq::pipeline {
namespace {

// As `awq eval` computes what `awq quantize` would have written.
constexpr kernels::Packed kMeasured = kernels::Packed::kExact;

// Parameters, and what they take as the original's file has them.
class OriginalSize {
 public:
  explicit OriginalSize(const checkpoint::StoredModel& model) : model_(model) {}

  void Add(std::string_view name, const TensorView& tensor) {
    const auto converted = model_.ConvertedForm(name);
    elements_ += tensor.elements();
    bits_ += 8 * (converted ? converted->bytes : tensor.elements() * ElementBytes(tensor.dtype));
  }
  void Add(const model::BlockWeights& weights) {
    for (const auto& linear : weights.linears) {
      if (!linear) continue;
      Add(linear->name, linear->weight);
      if (linear->bias) Add(linear->name + ".bias", *linear->bias);
    }
    for (const auto& norm : weights.norms) {
      if (norm) Add("", *norm);
    }
  }
  Status AddWhatIsInNoBlock() {
    const model::ArchSpec& arch = *model_.config().arch;
    AWQ_ASSIGN(const TensorView embedding, model_.Embedding());
    Add(arch.embedding, embedding);
    AWQ_ASSIGN(const TensorView norm, model_.FinalNorm());
    Add(arch.final_norm, norm);
    if (model_.config().tie_word_embeddings) return {};
    AWQ_ASSIGN(const TensorView head, model_.Head());
    Add(arch.head, head);
    return {};
  }

  std::size_t elements() const { return elements_; }
  std::size_t bits() const { return bits_; }

 private:
  const checkpoint::StoredModel& model_;
  std::size_t elements_ = 0;
  std::size_t bits_ = 0;
};

int BitsOf(const checkpoint::StoredModel& model, const model::Linear& linear) {
  const auto converted = model.ConvertedForm(linear.name);
  return converted ? converted->bits : static_cast<int>(8 * ElementBytes(linear.weight.dtype));
}

class Comparer {
 public:
  Comparer(ThreadPool& pool, Compute& compute, const checkpoint::StoredModel& model,
           const Matrix<std::int32_t>& tokens, const std::vector<Probe>& probes,
           const CompareOptions& options, std::vector<Variant> variants)
      : pool_(pool),
        model_(model),
        config_(model.config()),
        tokens_(tokens),
        probes_(probes),
        options_(options),
        original_size_(model),
        variants_(std::move(variants)),
        compute_(compute),
        walk_(pool, compute, model, tokens, options.precision, Pointers(variants_),
              options.progress) {}

  Result<Comparison> Go() {
    AWQ_TRY(Begin());
    while (walk_.layer() < config_.num_hidden_layers) AWQ_TRY(NextBlock());
    const std::size_t in_blocks = original_size_.elements();
    AWQ_TRY(original_size_.AddWhatIsInNoBlock());
    result_.parameters = original_size_.elements();
    result_.original.stored_bits = original_size_.bits();
    AWQ_ASSIGN(const TensorView norm, model_.FinalNorm());
    result_.original.final_norm = transformer::ToFloats(norm);
    for (std::size_t v = 0; v < variants_.size(); ++v) {
      ComparedModel& compared = result_.contenders[v];
      const Method& method = *variants_[v].method;
      compared.spec = variants_[v].plan.spec;
      compared.stored_bits += 16 * (result_.parameters - in_blocks);  // the rest, in fp16
      AWQ_ASSIGN(const std::vector<F16> refitted, walk_.FinalNorm(variants_[v]));
      compared.final_norm = PrepareNorm(refitted);
      compared.seconds = variants_[v].seconds + walk_.shared_seconds(method);
      if (!method.calibrates()) continue;
      compared.memory_bound_bytes = BoundMemory(config_, method,
                                                {.precision = options_.precision,
                                                 .sequences = tokens_.rows(),
                                                 .sequence_tokens = tokens_.cols(),
                                                 .group_size = compared.spec.group_size,
                                                 .threads = pool_.size()})
                                        .total() +
                                    model_.converted_bytes();
    }
    model_.ReleaseAll();
    return std::move(result_);
  }

 private:
  static std::vector<Variant*> Pointers(std::vector<Variant>& variants) {
    std::vector<Variant*> pointers;
    for (Variant& variant : variants) pointers.push_back(&variant);
    return pointers;
  }

  Status Begin() {
    AWQ_TRY(walk_.Begin());
    AWQ_ASSIGN(const TensorView embedding, model_.Embedding());
    for (const Probe& probe : probes_) {
      AWQ_ASSIGN(auto sequences,
                 compute_.MakeSequences(probe.sequence_tokens, {kMeasured, probe.precision}));
      sequences_.push_back(std::move(sequences));
    }
    result_.contenders.resize(variants_.size());
    std::vector<ComparedModel*> models = {&result_.original};
    for (ComparedModel& each : result_.contenders) models.push_back(&each);
    for (ComparedModel* each : models) {
      for (std::size_t p = 0; p < probes_.size(); ++p) {
        AWQ_ASSIGN(auto states, sequences_[p]->Embed(embedding, probes_[p].ids));
        each->states.push_back(std::move(states));
      }
    }
    return {};
  }

  Status RunProbes(const RunnableBlock& block, std::size_t layer, ComparedModel& compared) {
    for (std::size_t p = 0; p < probes_.size(); ++p) {
      sequences_[p]->Run(block, layer, *compared.states[p]);
      sequences_[p]->ReleaseScratch();
    }
    return compute_.Wait();
  }

  Status NextBlock() {
    const std::size_t layer = walk_.layer();
    {
      AWQ_ASSIGN(const model::BlockWeights weights, model_.Block(layer));
      AWQ_ASSIGN(const BlockPtr original, compute_.Prepare(weights));
      AWQ_TRY(RunProbes(*original, layer, result_.original));
      original_size_.Add(weights);
      result_.original_bits = BitsOf(model_, weights.linear(config_.arch->linears.front().role));
    }
    AWQ_TRY(walk_.QuantizeBlock());
    for (std::size_t v = 0; v < variants_.size(); ++v) {
      Variant& variant = variants_[v];
      ComparedModel& compared = result_.contenders[v];
      compared.stored_bits += StoredBits(variant.block);
      compared.blocks.push_back(std::move(variant.report));
      AWQ_ASSIGN(const BlockPtr block, MakeBlock(compute_, config_, variant.block, kMeasured));
      AWQ_TRY(RunProbes(*block, layer, compared));
      variant.block = {};
    }
    return {};
  }

  ThreadPool& pool_;
  const checkpoint::StoredModel& model_;
  const model::ModelConfig& config_;
  const Matrix<std::int32_t>& tokens_;
  const std::vector<Probe>& probes_;
  const CompareOptions& options_;
  OriginalSize original_size_;
  std::vector<Variant> variants_;
  Compute& compute_;
  Walk walk_;
  std::vector<std::unique_ptr<Sequences>> sequences_;  // one a probe
  Comparison result_;
};

}  // namespace

std::size_t DiskBytes(const model::ModelConfig& config, std::size_t tokens,
                      const std::vector<Probe>& probes, const CompareOptions& options) {
  std::size_t streams = 1;  // of the original model
  for (const Contender& contender : options.contenders) {
    if (contender.method->inputs == Inputs::kSequential) ++streams;
    if (contender.method->polish.epochs > 0) ++streams;  // what the block began with
  }
  std::size_t bytes = streams * HiddenStore::Bytes(options.precision, tokens, config.hidden_size);
  for (const Probe& probe : probes) {
    bytes += (options.contenders.size() + 1) *
             HiddenStore::Bytes(probe.precision, probe.ids.size(), config.hidden_size);
  }
  return bytes;
}

Result<Comparison> Compare(ThreadPool& pool, const checkpoint::StoredModel& model,
                           const Matrix<std::int32_t>& tokens, const std::vector<Probe>& probes,
                           const CompareOptions& options) {
  AWQ_TRY(CheckQuantizable(model));
  std::vector<Variant> variants;
  for (const Contender& contender : options.contenders) {
    PlanOptions plan_options = contender.plan;
    plan_options.format.clear();
    AWQ_ASSIGN(Plan plan, MakePlan(model.config(), plan_options));
    Variant variant;
    variant.method = contender.method;
    variant.plan = std::move(plan);
    variants.push_back(std::move(variant));
    if (contender.method->calibrates() && tokens.size() == 0) {
      return MakeError(ErrorCode::kInvalidArgument, "method {} needs calibration tokens",
                       contender.method->name);
    }
  }
  AWQ_ASSIGN(auto compute, MakeCompute(pool, model.config(), options.precision, options.gpu));
  AWQ_ASSIGN(Comparison comparison,
             Comparer(pool, *compute, model, tokens, probes, options, std::move(variants)).Go());
  comparison.compute = std::move(compute);
  return comparison;
}

}  // namespace awq::pipeline
