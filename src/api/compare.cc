#include "pipeline/compare.h"

#include <awq/awq.h>

#include <algorithm>
#include <chrono>
#include <filesystem>

#include "api/calibration.h"
#include "api/compare_table.h"
#include "api/estimate.h"
#include "api/guard.h"
#include "api/runtime.h"
#include "api/windows.h"
#include "base/checked.h"
#include "base/clock.h"
#include "base/memory.h"
#include "eval/score.h"
#include "eval/task_score.h"
#include "eval/tasks.h"
#include "io/scratch_file.h"
#include "pipeline/check.h"
#include "pipeline/compute.h"
#include "pipeline/memory.h"
#include "pipeline/method.h"
#include "pipeline/quantize.h"
#include "transformer/network.h"

namespace awq {
namespace {

using api::ToEstimate;

constexpr std::size_t kDefaultCtx = 512;

// What every row is measured on.
struct Measured {
  std::string text;  // where the windows came from
  Matrix<std::int32_t> windows;
  std::vector<std::string> task_names;
  std::vector<eval::Task> tasks;

  // Tasks are long and only compared choice by choice: their states are kept as coarse as the
  // arithmetic is.
  std::vector<pipeline::Probe> Probes(math::Precision precision) const {
    std::vector<pipeline::Probe> probes(1);
    probes[0].sequence_tokens.assign(windows.rows(), windows.cols());
    probes[0].ids.assign(windows.span().begin(), windows.span().end());
    for (const eval::Task& task : tasks) {
      pipeline::Probe& probe = probes.emplace_back();
      probe.precision = precision;
      for (const eval::TaskItem& item : task.items) {
        for (const eval::TaskSequence& sequence : item.sequences) {
          const auto inputs = sequence.inputs();
          probe.sequence_tokens.push_back(inputs.size());
          probe.ids.insert(probe.ids.end(), inputs.begin(), inputs.end());
        }
      }
    }
    return probes;
  }
};

template <class T>
std::vector<T> Distinct(const std::vector<T>& values) {
  std::vector<T> distinct;
  for (const T& value : values) {
    if (std::ranges::find(distinct, value) == distinct.end()) distinct.push_back(value);
  }
  return distinct;
}

Result<std::vector<pipeline::Contender>> ReadContenders(const CompareOptions& options) {
  if (options.methods.empty() || options.bits.empty()) {
    return MakeError(ErrorCode::kInvalidArgument, "nothing to compare: give methods and bits");
  }
  AWQ_ASSIGN(const auto group_size, api::ReadGroupSize(options.group_size));
  std::vector<pipeline::Contender> contenders;
  for (const int bits : Distinct(options.bits)) {
    for (const std::string& name : Distinct(options.methods)) {
      const pipeline::Method* method = pipeline::FindMethod(name);
      if (method == nullptr) {
        return MakeError(ErrorCode::kInvalidArgument, "method {}: expected one of {}", name,
                         pipeline::MethodNames(/*storable_only=*/false));
      }
      pipeline::Contender& contender = contenders.emplace_back();
      contender.method = method;
      contender.plan.bits = bits;
      contender.plan.group_size = group_size;
      contender.plan.symmetric = options.symmetric;
    }
  }
  return contenders;
}

class Comparing {
 public:
  Comparing(const CompareOptions& options, const Runtime& runtime)
      : options_(options), runtime_(runtime), pool_(api::CheckedThreads(runtime)) {}

  Result<CompareReport> Go() {
    const auto start = std::chrono::steady_clock::now();
    pipeline::CompareOptions run;
    AWQ_ASSIGN(run.contenders, ReadContenders(options_));
    run.progress = runtime_.progress;
    AWQ_ASSIGN(model_, api::OpenModel(options_.model, runtime_));
    AWQ_TRY(pipeline::CheckQuantizable(*model_));
    pipeline::PlanOptions groups = run.contenders.front().plan;  // those of all
    groups.format = "";
    AWQ_ASSIGN(const pipeline::Plan plan, pipeline::MakePlan(model_->config(), groups));
    report_.footnote = pipeline::UnevenGroups(plan);
    AWQ_ASSIGN(calibration_, api::PrepareCalibration(*model_, options_.calibration, runtime_));
    const bool calibrates = std::ranges::any_of(
        run.contenders, [](const auto& each) { return each.method->calibrates(); });
    if ((calibrates && calibration_.from_model()) || options_.text.empty()) {
      AWQ_TRY(pipeline::CheckModel(pool_, *model_));
    }
    AWQ_TRY(ReadTasks());  // before the model may have to write text
    AWQ_TRY(ReadMeasured());
    AWQ_TRY(ChooseDevice(plan.spec.group_size, run));
    const std::vector<pipeline::Probe> probes = measured_.Probes(run.precision);
    const std::size_t calibration_tokens =
        calibrates ? calibration_.options.samples * calibration_.options.sequence_tokens : 0;
    const std::size_t kept_bytes =
        pipeline::DiskBytes(model_->config(), calibration_tokens, probes, run);
    Announce(run.gpu ? 0 : kept_bytes);
    calib::CalibrationTokens tokens;
    if (calibrates) {
      AWQ_ASSIGN(tokens, api::Calibrate(pool_, *model_, calibration_));
    }
    AWQ_ASSIGN(pipeline::Comparison compared,
               pipeline::Compare(pool_, *model_, tokens.ids, probes, run));
    AWQ_TRY(Score(run, compared));
    report_.calibration = tokens.source;
    report_.text = measured_.text;
    report_.ctx = measured_.windows.cols();
    report_.windows = measured_.windows.rows();
    const pipeline::Compute::Use use = compared.compute->use();
    report_.device = use.device;
    report_.peak_gpu_bytes = use.peak_gpu_bytes;
    report_.seconds = SecondsSince(start);
    report_.peak_resident_bytes = ReadMemoryUse().peak_resident_bytes;
    report_.markdown = api::ToMarkdown(report_);
    report_.csv = api::ToCsv(report_);
    report_.json = api::ToJson(report_);
    return std::move(report_);
  }

 private:
  std::size_t ctx() const { return options_.ctx.value_or(kDefaultCtx); }

  Status ChooseDevice(std::size_t group_size, pipeline::CompareOptions& run) const {
    const pipeline::RunSize size = {.precision = math::Precision::kBF16,
                                    .sequences = calibration_.options.samples,
                                    .sequence_tokens = calibration_.options.sequence_tokens,
                                    .group_size = group_size,
                                    .threads = pool_.size()};
    std::size_t bytes = 0;
    for (const pipeline::Contender& each : run.contenders) {
      bytes = std::max(bytes, pipeline::EstimateGpuMemory(model_->config(), *each.method, size));
    }
    bytes += 2 * pipeline::DiskBytes(model_->config(), size.tokens(),
                                     measured_.Probes(size.precision), run);
    AWQ_ASSIGN(run.gpu, api::GpuOfWalk(runtime_, model_->config(), bytes));
    run.precision = run.gpu ? math::Precision::kBF16 : api::ResolvePrecision(runtime_.precision);
    return {};
  }

  Status ReadMeasured() {
    if (options_.text.empty()) {
      // The next seed: not what is calibrated on.
      api::PreparedCalibration other = calibration_;
      other.source = api::kSelf;
      other.options.seed += 1;
      other.options.sequence_tokens = std::min(ctx(), model_->config().max_position_embeddings);
      other.options.samples =
          std::max<std::size_t>(1, options_.max_tokens / other.options.sequence_tokens);
      AWQ_ASSIGN(calib::CalibrationTokens tokens, api::Calibrate(pool_, *model_, other));
      measured_.windows = std::move(tokens.ids);
      measured_.text = tokens.source;
    } else {
      AWQ_ASSIGN(text::TokenWindows windows,
                 api::ReadWindows(model_->config(), *calibration_.tokenizer,
                                  {.text = options_.text,
                                   .ctx = ctx(),
                                   .ctx_was_given = options_.ctx.has_value(),
                                   .most_tokens = model_->config().max_position_embeddings,
                                   .bos = options_.bos.value_or(OwnBos()),
                                   .max_tokens = options_.max_tokens},
                                  runtime_));
      measured_.windows = std::move(windows.ids);
      measured_.text = options_.text;
    }
    return {};
  }

  Status ReadTasks() {
    eval::TaskOptions read;
    read.max_items = options_.max_items;
    read.bos = api::ToBosMode(options_.bos.value_or(OwnBos()));
    read.bos_token_id = calib::BosToken(model_->config(), *calibration_.tokenizer);
    read.max_tokens = model_->config().max_position_embeddings;
    for (const std::string& path : options_.tasks) {
      AWQ_ASSIGN(eval::Task task, eval::ReadTask(path, *calibration_.tokenizer, read));
      measured_.tasks.push_back(std::move(task));
      measured_.task_names.push_back(std::filesystem::path(path).stem().string());
    }
    return {};
  }

  // What is taken of the disk, and what could mislead.
  void Announce(std::size_t disk_bytes) const {
    if (disk_bytes > 0) {
      api::Note(
          runtime_,
          fmt::format("disk: at most {} MiB in {} until the end, for the hidden states of "
                      "all tokens (TMPDIR names another place)",
                      CeilDiv(disk_bytes, std::size_t{1} << 20), io::ScratchDirectory().string()));
    }
    std::error_code failure;
    if (!options_.text.empty() && !calibration_.from_model() &&
        std::filesystem::equivalent(options_.text, calibration_.source, failure)) {
      api::Note(runtime_, fmt::format("{} is both calibrated on and measured on: the figures will "
                                      "flatter the methods that calibrate",
                                      options_.text));
    }
  }

  Bos OwnBos() const {
    return calibration_.options.bos == text::BosMode::kWindow ? Bos::kWindow : Bos::kNever;
  }

  // Rows of one probe's final hidden states, as scoring reads them.
  eval::ScoredModel Scored(const pipeline::ComparedModel& model, std::size_t probe) {
    return {.vocab_size = model_->config().vocab_size,
            .hidden =
                [this, &model, probe](std::size_t first, std::size_t count) {
                  if (rows_.rows() < count) {
                    rows_ = Matrix<float>(count, model_->config().hidden_size);
                  }
                  const MatrixView<float> rows = rows_.view().Rows(0, count);
                  model.states[probe]->Load(pool_, first, rows);
                  return MatrixView<const float>(rows);
                },
            .logits =
                [this, &model](MatrixView<const float> hidden, MatrixView<float> logits) {
                  return network_->Logits(hidden, model.final_norm, logits);
                }};
  }

  Status Score(const pipeline::CompareOptions& run, pipeline::Comparison& compared) {
    AWQ_ASSIGN(network_,
               transformer::Network::Create(
                   pool_, *model_,
                   {.precision = run.precision, .positions = 1, .keep_bytes = 0, .gpu = run.gpu}));
    std::vector<const pipeline::ComparedModel*> models = {&compared.original};
    for (const auto& each : compared.contenders) models.push_back(&each);
    std::vector<eval::ScoredModel> scored;
    for (const auto* each : models) scored.push_back(Scored(*each, 0));
    eval::WindowScorer scorer(pool_, measured_.windows, scored.size(), /*with_reference=*/true);
    AWQ_TRY(scorer.Score(0, measured_.windows.rows(), &scored.front(), scored));
    const std::vector<eval::EvalReport> figures = std::move(scorer).Reports();
    report_.tokens = figures.front().predictions;
    const auto parameters = static_cast<double>(compared.parameters);
    for (std::size_t m = 0; m < models.size(); ++m) {
      CompareRow& row = report_.rows.emplace_back();
      row.method = m == 0 ? "original" : std::string(run.contenders[m - 1].method->name);
      row.bits_per_weight = static_cast<double>(models[m]->stored_bits) / parameters;
      row.seconds = models[m]->seconds;
      row.memory_bound_bytes = models[m]->memory_bound_bytes;
      if (row.memory_bound_bytes > 0) {
        row.memory_bound_bytes = std::max(
            row.memory_bound_bytes, api::SelfCalibrationBound(*model_, calibration_, pool_.size()));
      }
      row.bits = compared.original_bits;
      if (m > 0) {
        const quant::Spec& spec = models[m]->spec;
        row.bits = spec.bits;
        row.group_size = spec.group_size == 0 ? -1 : static_cast<int>(spec.group_size);
      }
      Fill(figures[m], row);
      if (m == 0) continue;
      const std::size_t methods = Distinct(options_.methods).size();
      const std::size_t first = 1 + (m - 1) / methods * methods;
      AWQ_ASSIGN(const eval::PairedFigures paired,
                 eval::PairedDifference(figures[m], figures[first]));
      row.kl_difference_nats = ToEstimate(*paired.kl_mean_nats);
    }
    return ScoreTasks(models);
  }

  static void Fill(const eval::EvalReport& figures, CompareRow& row) {
    row.perplexity = ToEstimate(figures.perplexity);
    row.nll_increase_nats = ToEstimate(figures.divergence->nll_increase_nats_per_token);
    row.kl_mean_nats = ToEstimate(figures.divergence->kl_mean_nats);
    row.kl_p99_nats = ToEstimate(figures.divergence->kl_p99_nats);
    row.top1_agreement = ToEstimate(figures.divergence->top1_agreement);
  }

  Status ScoreTasks(const std::vector<const pipeline::ComparedModel*>& models) {
    for (std::size_t t = 0; t < measured_.tasks.size(); ++t) {
      const eval::Task& task = measured_.tasks[t];
      AWQ_ASSIGN(const eval::TaskReport original,
                 eval::ScoreTask(pool_, task, Scored(*models.front(), t + 1)));
      for (std::size_t m = 0; m < models.size(); ++m) {
        eval::TaskReport report = original;
        if (m > 0) {
          AWQ_ASSIGN(report, eval::ScoreTask(pool_, task, Scored(*models[m], t + 1)));
        }
        AWQ_ASSIGN(const eval::Figure difference, eval::PairedDifference(report, original));
        report_.rows[m].tasks.push_back({.task = measured_.task_names[t],
                                         .measure = std::string(eval::Name(report.reported)),
                                         .items = task.items.size(),
                                         .accuracy = ToEstimate(report.accuracy()),
                                         .difference = ToEstimate(difference)});
      }
    }
    return {};
  }

  const CompareOptions& options_;
  const Runtime& runtime_;
  ThreadPool pool_;
  std::unique_ptr<checkpoint::StoredModel> model_;
  api::PreparedCalibration calibration_;
  Measured measured_;
  std::unique_ptr<transformer::Network> network_;
  Matrix<float> rows_;
  CompareReport report_;
};

}  // namespace

Result<CompareReport> Compare(const CompareOptions& options, const Runtime& runtime) {
  return api::Guard([&]() -> Result<CompareReport> { return Comparing(options, runtime).Go(); });
}

}  // namespace awq
