#include "search/site.h"

#include <algorithm>
#include <array>
#include <memory>
#include <numeric>
#include <utility>

#include "math/matmul.h"
#include "search/awq.h"
#include "search/for_rows.h"
#include "search/gptq.h"
#include "search/paired_error.h"
#include "search/ranges.h"
#include "search/scale_refit.h"

namespace awq::search {
namespace {

// Exponents of the coarse grid, and how far its best one's neighbours are.
constexpr std::array kActivationExponents = {0.0, 0.15, 0.3};
constexpr double kNextActivationExponent = 0.5;  // where the last of these is the best
constexpr std::array kWeightExponents = {0.0, 0.5, 1.0};
constexpr double kActivationStep = 0.08;
constexpr double kWeightStep = 0.25;
// Rows of a large linear that the coarse grid looks at, and what then looks at its best.
constexpr std::size_t kCoarseRows = 256;
constexpr std::size_t kSampleRows = 512;
constexpr std::size_t kMostStep = 8;  // from one row to the next, at kSampleRows
constexpr std::size_t kFinalists = 2;
// Rounding again on refitted scales gains up to 1 % and takes a time that grows with the square of
// the inputs.
constexpr std::size_t kMostInputsRoundedAgain = 1024;
constexpr double kPublishedDamping = 0.01;

// What was tried with one scale: one rounding a linear.
struct Attempt {
  std::string_view name;
  Scale scale;
  Exponents exponents;
  std::vector<quant::QuantizedLinear> linears;
  std::vector<double> errors;  // on the judging rows

  double total() const {
    double sum = 0;
    for (double error : errors) sum += error;
    return sum;
  }
};

GramFactor Factor(ThreadPool& pool, const SiteStatistics& statistics, const SiteOptions& options) {
  if (options.published_damping) {
    return FactorGram(pool, statistics.gram, kPublishedDamping, DampingForm::kMean);
  }
  return FactorGram(pool, statistics.gram, DampingFor(statistics.gram.cols(), statistics.tokens));
}

template <class T>
Matrix<T> CopyOf(const Matrix<T>& from) {
  Matrix<T> to(from.rows(), from.cols());
  std::ranges::copy(from.span(), to.span().begin());
  return to;
}

quant::QuantizedLinear CopyOf(const quant::QuantizedLinear& from) {
  return {from.spec, CopyOf(from.codes), CopyOf(from.scales), CopyOf(from.zeros)};
}

// Rows of `other` that lose less take the place of those of `kept`.
void KeepBetterRows(const std::vector<double>& other_losses, const quant::QuantizedLinear& other,
                    const std::vector<double>& losses, quant::QuantizedLinear& kept) {
  for (std::size_t row = 0; row < losses.size(); ++row) {
    if (!(other_losses[row] < losses[row])) continue;
    std::copy_n(other.codes.row(row), other.codes.cols(), kept.codes.row(row));
    std::copy_n(other.scales.row(row), other.groups(), kept.scales.row(row));
    std::copy_n(other.zeros.row(row), other.groups(), kept.zeros.row(row));
  }
}

class Solver {
 public:
  Solver(ThreadPool& pool, const SiteProblem& problem, SiteStatistics statistics,
         const SiteOptions& options)
      : pool_(pool),
        problem_(problem),
        statistics_(std::move(statistics)),
        options_(options),
        spec_(problem.linears.spec),
        sketch_rows_(SketchRows(statistics_)),
        judging_rows_(statistics_.held_out.rows() > 0 ? statistics_.held_out : sketch_rows_),
        factor_(Factor(pool, statistics_, options)) {
    const std::size_t in = statistics_.gram.cols();
    for (const MatrixView<const float>& weights : problem.linears.weights) {
      AWQ_CHECK_EQ(weights.cols, in);
      judges_.push_back(std::make_unique<PairedError>(pool, weights, judging_rows_));
      targets_.push_back(weights);
    }
    corrections_.resize(targets_.size());
    identity_ = Scale(in, 1.0F);
  }

  SiteSolution Go() {
    std::vector<Attempt> attempts;
    attempts.push_back(RoundedToNearest());
    if (options_.keep_best) attempts.push_back(Published());
    if (!options_.refit) statistics_.gram = {};
    if (options_.correct) CorrectTargets();
    attempts.push_back(WithFeedback());
    return Choose(std::move(attempts));
  }

 private:
  bool Allows(const Scale& scale) const { return !problem_.allows || problem_.allows(scale); }

  // W C (H + diag(added))^-1, where the inputs came in pairs.
  Matrix<float> Change(MatrixView<const float> weights) {
    Matrix<float> change = std::move(statistics_.projected);
    if (change.rows() == 0) {
      change = Matrix<float>(weights.rows, weights.cols);
      math::ParallelMatMul(pool_, math::Plain(weights), math::Plain(statistics_.cross.view()),
                           weights.cols, change);
    }
    SolveRows(pool_, factor_, change);
    return change;
  }

  void CorrectTargets() {
    if (statistics_.cross.rows() == 0 && statistics_.projected.rows() == 0) return;
    for (std::size_t i = 0; i < targets_.size(); ++i) {
      const MatrixView<const float> weights = problem_.linears.weights[i];
      Matrix<float> change = Change(weights);
      const double alpha = judges_[i]->BestStep(change);
      corrections_[i] = alpha;
      if (alpha == 0) continue;
      ForRows(pool_, weights.rows, [&](std::size_t r) {
        for (std::size_t c = 0; c < weights.cols; ++c) {
          change(r, c) = weights(r, c) + static_cast<float>(alpha) * change(r, c);
        }
      });
      corrected_.push_back(std::move(change));
      targets_[i] = corrected_.back();
    }
    statistics_.cross = {};
  }

  quant::QuantizedLinear RoundIn(const GroupRanges& ranges, MatrixView<const float> target,
                                 const Scale& scale, std::vector<double>& losses) {
    quant::QuantizedLinear rounded = MapsOf(pool_, ranges, spec_, target.cols);
    losses = RoundWithFeedback(pool_, target, scale, factor_, rounded);
    return rounded;
  }

  // In full ranges and, where asked for, in searched ones: each row keeps the better.
  quant::QuantizedLinear RoundTarget(MatrixView<const float> target, const Scale& scale) {
    const Matrix<float> scaled = ScaledWeights(pool_, target, scale);
    std::vector<double> losses;
    quant::QuantizedLinear rounded =
        RoundIn(FullRanges(pool_, scaled, spec_), target, scale, losses);
    if (!options_.ranges) return rounded;
    std::vector<double> other_losses;
    const quant::QuantizedLinear other =
        RoundIn(SearchRanges(pool_, scaled, scale, factor_.conditional_variances(), spec_), target,
                scale, other_losses);
    KeepBetterRows(other_losses, other, losses, rounded);
    return rounded;
  }

  // What the scale search looks at: some rows of large targets, all of small ones.
  struct Sample {
    Matrix<float> rows;
    double weight = 1;
  };
  std::vector<Sample> SampleTargets(std::size_t rows) {
    std::vector<Sample> samples;
    const std::size_t most = kMostStep * kSampleRows / rows;
    for (const MatrixView<const float>& target : targets_) {
      const std::size_t step = std::clamp<std::size_t>(target.rows / rows, 1, most);
      Sample sample{Matrix<float>(CeilDiv(target.rows, step), target.cols),
                    static_cast<double>(step)};
      ForRows(pool_, sample.rows.rows(), [&](std::size_t row) {
        std::copy_n(target.row(row * step), target.cols, sample.rows.row(row));
      });
      samples.push_back(std::move(sample));
    }
    return samples;
  }

  double FeedbackLoss(const std::vector<Sample>& samples, const Scale& scale) {
    double loss = 0;
    std::vector<double> losses;
    for (const Sample& sample : samples) {
      const Matrix<float> scaled = ScaledWeights(pool_, sample.rows, scale);
      RoundIn(FullRanges(pool_, scaled, spec_), sample.rows, scale, losses);
      loss += sample.weight * std::accumulate(losses.begin(), losses.end(), 0.0);
    }
    return loss;
  }

  // A coarse grid of exponents, then the neighbours of its best: the loss after feedback has one
  // valley, and it is wide.
  void SearchScaleOf(Attempt& attempt) {
    const std::vector<float> profile = Tied(WeightProfile(pool_, {targets_, spec_}), problem_.tie);
    const std::vector<float> mean_abs = Tied(statistics_.mean_abs, problem_.tie);
    struct Candidate {
      Exponents exponents;
      Scale scale;
      double loss = 0;
    };
    const auto by_loss = [](const Candidate& a, const Candidate& b) { return a.loss < b.loss; };
    std::vector<Candidate> tried;
    const auto consider = [&](const Exponents& exponents, const std::vector<Sample>& samples) {
      Scale scale = exponents.activation == 0 && exponents.weight == 0
                        ? identity_
                        : TwoExponentScale(mean_abs, profile, exponents);
      if (scale != identity_ && !Allows(scale)) return;
      const double loss = FeedbackLoss(samples, scale);
      tried.push_back({exponents, std::move(scale), loss});
    };

    const std::vector<Sample> few = SampleTargets(kCoarseRows);
    const auto consider_weights = [&](double activation) {
      for (const double weight : kWeightExponents) consider({activation, weight}, few);
    };
    for (const double activation : kActivationExponents) consider_weights(activation);
    const double best = std::ranges::min_element(tried, by_loss)->exponents.activation;
    if (best == kActivationExponents.back()) consider_weights(kNextActivationExponent);

    const std::vector<Sample> samples = SampleTargets(kSampleRows);
    std::ranges::stable_sort(tried, by_loss);
    tried.resize(std::min(tried.size(), kFinalists));
    for (Candidate& finalist : tried) finalist.loss = FeedbackLoss(samples, finalist.scale);
    const Exponents center = std::ranges::min_element(tried, by_loss)->exponents;
    for (const double step : {-kActivationStep, kActivationStep}) {
      if (center.activation + step >= 0) {
        consider({center.activation + step, center.weight}, samples);
      }
    }
    for (const double step : {-kWeightStep, kWeightStep}) {
      if (center.weight + step >= 0) consider({center.activation, center.weight + step}, samples);
    }
    Candidate& least = *std::ranges::min_element(tried, by_loss);
    attempt.scale = std::move(least.scale);
    attempt.exponents = least.exponents;
  }

  Attempt WithFeedback() {
    Attempt attempt{"feedback", identity_, {}, {}, {}};
    if (options_.scales && problem_.scalable) SearchScaleOf(attempt);
    for (std::size_t i = 0; i < targets_.size(); ++i) {
      quant::QuantizedLinear rounded = RoundTarget(targets_[i], attempt.scale);
      if (options_.refit && rounded.groups() <= kMostRefittedGroups) {
        quant::QuantizedLinear refitted = Refitted(targets_[i], attempt.scale, rounded);
        const auto error = [&](const auto& of) { return judges_[i]->Of(of, attempt.scale); };
        if (error(refitted) < error(rounded)) rounded = std::move(refitted);
      }
      attempt.linears.push_back(std::move(rounded));
    }
    return attempt;
  }

  // Scales refitted to the codes; in a narrow site codes rounded again on these and scales refitted
  // again, of which each row keeps the better.
  quant::QuantizedLinear Refitted(MatrixView<const float> target, const Scale& scale,
                                  const quant::QuantizedLinear& rounded) {
    const RefitMetric metric{statistics_.gram, factor_.added};
    quant::QuantizedLinear best = CopyOf(rounded);
    const std::vector<double> losses = RefitScales(pool_, target, scale, metric, best);
    if (target.cols > kMostInputsRoundedAgain) return best;
    quant::QuantizedLinear again = CopyOf(best);
    RoundWithFeedback(pool_, target, scale, factor_, again);
    KeepBetterRows(RefitScales(pool_, target, scale, metric, again), again, losses, best);
    return best;
  }

  Attempt RoundedToNearest() {
    Attempt attempt{"rtn", identity_, {}, {}, {}};
    for (const MatrixView<const float>& weights : problem_.linears.weights) {
      attempt.linears.push_back(search::Round(pool_, weights, spec_));
    }
    return attempt;
  }

  // The published method on these inputs: alpha on the sketch, then the clip.
  Attempt Published() {
    Attempt attempt{"awq", identity_, {}, {}, {}};
    if (problem_.scalable && problem_.tie.shared == 1) {
      ScaleChoice choice = EstimateScale(pool_, problem_.linears.weights, statistics_, spec_);
      if (Allows(choice.scale)) {
        attempt.scale = std::move(choice.scale);
        attempt.exponents = {choice.alpha, 0};
      }
    }
    for (std::size_t i = 0; i < problem_.linears.weights.size(); ++i) {
      const Matrix<float> scaled = ScaledWeights(pool_, problem_.linears.weights[i], attempt.scale);
      if (problem_.clipped[i] != 0) {
        const Clip clip = SearchClip(pool_, scaled, statistics_.gram, spec_, attempt.scale);
        attempt.linears.push_back(search::Round(pool_, scaled, spec_, &clip));
      } else {
        attempt.linears.push_back(search::Round(pool_, scaled, spec_));
      }
    }
    return attempt;
  }

  SiteSolution Choose(std::vector<Attempt> attempts) {
    for (Attempt& attempt : attempts) {
      for (std::size_t i = 0; i < judges_.size(); ++i) {
        const double error = judges_[i]->Of(attempt.linears[i], attempt.scale);
        // Scaled or corrected, a group's scale may leave fp16: such an attempt is no choice.
        constexpr double kNever = std::numeric_limits<double>::infinity();
        attempt.errors.push_back(std::isfinite(error) ? error : kNever);
      }
    }
    std::size_t site = attempts.size() - 1;
    for (std::size_t k = 0; options_.keep_best && k < attempts.size(); ++k) {
      if (attempts[k].total() < attempts[site].total()) site = k;
    }
    SiteSolution solution{attempts[site].scale, attempts[site].exponents, factor_.damping, {}};
    for (std::size_t i = 0; i < judges_.size(); ++i) {
      std::size_t best = site;
      for (std::size_t k = 0; options_.keep_best && k < attempts.size(); ++k) {
        if (attempts[k].scale != solution.scale) continue;
        if (attempts[k].errors[i] < attempts[best].errors[i]) best = k;
      }
      solution.linears.push_back(Describe(i, attempts[0], attempts[best], solution.scale));
    }
    return solution;
  }

  // `rtn` may be the best.
  LinearSolution Describe(std::size_t i, Attempt& rtn, Attempt& best, const Scale& scale) {
    LinearSolution linear;
    linear.chosen = best.name;
    linear.correction = best.name == "feedback" ? corrections_[i] : 0;
    // The sketch's squares sum to means already.
    const bool held_out = &judging_rows_ != &sketch_rows_;
    const double count = held_out ? static_cast<double>(judging_rows_.rows()) : 1.0;
    linear.quality.held_out = {rtn.errors[i] / count, best.errors[i] / count};
    linear.quality.energy = judges_[i]->energy() / count;
    linear.quality.calibration = linear.quality.held_out;
    if (held_out) {
      const PairedError on_sketch(pool_, problem_.linears.weights[i], sketch_rows_);
      linear.quality.calibration = {on_sketch.Of(rtn.linears[i], identity_),
                                    on_sketch.Of(best.linears[i], scale)};
    }
    linear.weights = std::move(best.linears[i]);
    return linear;
  }

  ThreadPool& pool_;
  const SiteProblem& problem_;
  SiteStatistics statistics_;
  const SiteOptions& options_;
  quant::Spec spec_;
  PairedRows sketch_rows_;
  const PairedRows& judging_rows_;
  GramFactor factor_;
  Scale identity_;
  std::vector<std::unique_ptr<PairedError>> judges_;  // one a linear
  std::vector<MatrixView<const float>> targets_;      // what is rounded, one a linear
  std::vector<Matrix<float>> corrected_;              // what targets_ views where corrected
  std::vector<double> corrections_;
};

}  // namespace

SiteSolution SolveSite(ThreadPool& pool, const SiteProblem& problem, SiteStatistics statistics,
                       const SiteOptions& options) {
  return Solver(pool, problem, std::move(statistics), options).Go();
}

}  // namespace awq::search
