#include "search/site.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "search/awq.h"
#include "search/gram_factor.h"
#include "search/scale_refit.h"
#include "search/site_host.h"

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
  std::vector<RoundedPtr> linears;
  std::vector<double> errors;  // on the judging rows

  double total() const {
    double sum = 0;
    for (double error : errors) sum += error;
    return sum;
  }
};

class Solver {
 public:
  Solver(SiteArithmetic& arithmetic, const SiteProblem& problem, const SiteOptions& options)
      : arithmetic_(arithmetic),
        problem_(problem),
        options_(options),
        identity_(problem.linears.weights.front().cols, 1.0F),
        corrections_(problem.linears.weights.size()) {}

  SiteSolution Go() {
    std::vector<Attempt> attempts;
    attempts.push_back(RoundedToNearest());
    if (options_.keep_best) attempts.push_back(Published());
    damping_ = arithmetic_.Factor(options_);
    if (!options_.refit) arithmetic_.EndRefit();
    if (options_.correct) {
      for (std::size_t i = 0; i < linears(); ++i) corrections_[i] = arithmetic_.CorrectTarget(i);
      arithmetic_.EndCorrection();
    }
    attempts.push_back(WithFeedback());
    return Choose(std::move(attempts));
  }

 private:
  std::size_t linears() const { return problem_.linears.weights.size(); }
  std::size_t rows(std::size_t linear) const { return problem_.linears.weights[linear].rows; }
  bool Allows(const Scale& scale) const { return !problem_.allows || problem_.allows(scale); }

  // Some rows of large targets, all of small ones.
  double FeedbackLoss(std::size_t sample_rows, const Scale& scale) {
    const std::size_t most = kMostStep * kSampleRows / sample_rows;
    double loss = 0;
    for (std::size_t i = 0; i < linears(); ++i) {
      const std::size_t step = std::clamp<std::size_t>(rows(i) / sample_rows, 1, most);
      loss += static_cast<double>(step) * arithmetic_.FeedbackLoss(i, step, scale);
    }
    return loss;
  }

  // A coarse grid of exponents, then the neighbours of its best: the loss after feedback has one
  // valley, and it is wide.
  void SearchScaleOf(Attempt& attempt) {
    const std::vector<float> profile = Tied(arithmetic_.TargetProfile(), problem_.tie);
    const std::vector<float> mean_abs = Tied(arithmetic_.mean_abs(), problem_.tie);
    struct Candidate {
      Exponents exponents;
      Scale scale;
      double loss = 0;
    };
    const auto by_loss = [](const Candidate& a, const Candidate& b) { return a.loss < b.loss; };
    std::vector<Candidate> tried;
    const auto consider = [&](const Exponents& exponents, std::size_t sample_rows) {
      Scale scale = exponents.activation == 0 && exponents.weight == 0
                        ? identity_
                        : TwoExponentScale(mean_abs, profile, exponents);
      if (scale != identity_ && !Allows(scale)) return;
      const double loss = FeedbackLoss(sample_rows, scale);
      tried.push_back({exponents, std::move(scale), loss});
    };

    const auto consider_weights = [&](double activation) {
      for (const double weight : kWeightExponents) consider({activation, weight}, kCoarseRows);
    };
    for (const double activation : kActivationExponents) consider_weights(activation);
    const double best = std::ranges::min_element(tried, by_loss)->exponents.activation;
    if (best == kActivationExponents.back()) consider_weights(kNextActivationExponent);

    std::ranges::stable_sort(tried, by_loss);
    tried.resize(std::min(tried.size(), kFinalists));
    for (Candidate& finalist : tried) finalist.loss = FeedbackLoss(kSampleRows, finalist.scale);
    const Exponents center = std::ranges::min_element(tried, by_loss)->exponents;
    for (const double step : {-kActivationStep, kActivationStep}) {
      if (center.activation + step >= 0) {
        consider({center.activation + step, center.weight}, kSampleRows);
      }
    }
    for (const double step : {-kWeightStep, kWeightStep}) {
      if (center.weight + step >= 0) {
        consider({center.activation, center.weight + step}, kSampleRows);
      }
    }
    Candidate& least = *std::ranges::min_element(tried, by_loss);
    attempt.scale = std::move(least.scale);
    attempt.exponents = least.exponents;
  }

  Attempt WithFeedback() {
    Attempt attempt{"feedback", identity_, {}, {}, {}};
    if (options_.scales && problem_.scalable) SearchScaleOf(attempt);
    for (std::size_t i = 0; i < linears(); ++i) {
      RoundedPtr rounded = RoundTarget(i, attempt.scale);
      const std::size_t groups = identity_.size() / problem_.linears.spec.group_size;
      if (options_.refit && groups <= kMostRefittedGroups) {
        RoundedPtr refitted = Refitted(i, attempt.scale, *rounded);
        const auto error = [&](const Rounded& of) {
          return arithmetic_.Error(i, of, attempt.scale);
        };
        if (error(*refitted) < error(*rounded)) rounded = std::move(refitted);
      }
      attempt.linears.push_back(std::move(rounded));
    }
    return attempt;
  }

  // In full ranges and, where asked for, in searched ones: each row keeps the better.
  RoundedPtr RoundTarget(std::size_t linear, const Scale& scale) {
    std::vector<RoundedPtr> in_ranges = arithmetic_.RoundTarget(linear, scale, options_.ranges);
    for (std::size_t k = 1; k < in_ranges.size(); ++k) {
      arithmetic_.KeepBetterRows(*in_ranges[k], *in_ranges[0]);
    }
    return std::move(in_ranges[0]);
  }

  // Scales refitted to the codes; in a narrow site codes rounded again on these and scales refitted
  // again, of which each row keeps the better.
  RoundedPtr Refitted(std::size_t linear, const Scale& scale, const Rounded& rounded) {
    RoundedPtr best = arithmetic_.Copy(rounded);
    arithmetic_.Refit(linear, scale, *best);
    if (identity_.size() > kMostInputsRoundedAgain) return best;
    const RoundedPtr again = arithmetic_.Copy(*best);
    arithmetic_.RoundAgain(linear, scale, *again);
    arithmetic_.Refit(linear, scale, *again);
    arithmetic_.KeepBetterRows(*again, *best);
    return best;
  }

  Attempt RoundedToNearest() {
    Attempt attempt{"rtn", identity_, {}, {}, {}};
    for (std::size_t i = 0; i < linears(); ++i) {
      attempt.linears.push_back(arithmetic_.RoundToNearest(i, identity_, false));
    }
    return attempt;
  }

  // The published method on these inputs: alpha on the sketch, then the clip.
  Attempt Published() {
    Attempt attempt{"awq", identity_, {}, {}, {}};
    if (problem_.scalable && problem_.tie.shared == 1) {
      ScaleChoice choice = EstimateScale(
          [&](std::span<const Scale> scales) { return arithmetic_.EstimateLosses(scales); },
          arithmetic_.mean_abs(), problem_.linears.weights);
      if (Allows(choice.scale)) {
        attempt.scale = std::move(choice.scale);
        attempt.exponents = {choice.alpha, 0};
      }
    }
    for (std::size_t i = 0; i < linears(); ++i) {
      attempt.linears.push_back(
          arithmetic_.RoundToNearest(i, attempt.scale, problem_.clipped[i] != 0));
    }
    return attempt;
  }

  SiteSolution Choose(std::vector<Attempt> attempts) {
    for (Attempt& attempt : attempts) {
      for (std::size_t i = 0; i < linears(); ++i) {
        const double error = arithmetic_.Error(i, *attempt.linears[i], attempt.scale);
        // Scaled or corrected, a group's scale may leave fp16: such an attempt is no choice.
        constexpr double kNever = std::numeric_limits<double>::infinity();
        attempt.errors.push_back(std::isfinite(error) ? error : kNever);
      }
    }
    std::size_t site = attempts.size() - 1;
    for (std::size_t k = 0; options_.keep_best && k < attempts.size(); ++k) {
      if (attempts[k].total() < attempts[site].total()) site = k;
    }
    SiteSolution solution{attempts[site].scale, attempts[site].exponents, damping_, {}};
    for (std::size_t i = 0; i < linears(); ++i) {
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
    linear.quality =
        MeasureQuality(arithmetic_, i, {rtn.linears[i].get(), &identity_},
                       {best.linears[i].get(), &scale}, {rtn.errors[i], best.errors[i]});
    linear.weights = arithmetic_.Take(std::move(best.linears[i]));
    return linear;
  }

  SiteArithmetic& arithmetic_;
  const SiteProblem& problem_;
  const SiteOptions& options_;
  Scale identity_;
  std::vector<double> corrections_;  // alpha of each linear
  double damping_ = 0;
};

}  // namespace

LinearQuality MeasureQuality(SiteArithmetic& arithmetic, std::size_t linear,
                             const SiteArithmetic::Attempted& rtn,
                             const SiteArithmetic::Attempted& chosen, const ErrorPair& sums) {
  // The sketch's squares sum to means already.
  const std::size_t held_out = arithmetic.held_out_rows();
  const double count = held_out > 0 ? static_cast<double>(held_out) : 1.0;
  LinearQuality quality;
  quality.held_out = {sums.rtn / count, sums.chosen / count};
  quality.energy = arithmetic.Energy(linear) / count;
  quality.calibration = quality.held_out;
  if (held_out > 0) {
    const std::vector<double> errors =
        arithmetic.SketchErrors(linear, std::array<SiteArithmetic::Attempted, 2>{{rtn, chosen}});
    quality.calibration = {errors[0], errors[1]};
  }
  return quality;
}

SiteDamping DampingOf(std::size_t in_features, std::size_t tokens, const SiteOptions& options) {
  if (options.published_damping) return {kPublishedDamping, DampingForm::kMean};
  return {DampingFor(in_features, tokens), DampingForm::kRoots};
}

SiteSolution SolveSite(SiteArithmetic& arithmetic, const SiteProblem& problem,
                       const SiteOptions& options) {
  return Solver(arithmetic, problem, options).Go();
}

SiteSolution SolveSite(ThreadPool& pool, const SiteProblem& problem, SiteStatistics statistics,
                       const SiteOptions& options) {
  HostArithmetic arithmetic(pool, problem.linears, statistics);
  return SolveSite(arithmetic, problem, options);
}

}  // namespace awq::search
