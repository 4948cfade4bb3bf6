#include "search/site_host.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/for_rows.h"
#include "math/matmul.h"
#include "search/awq.h"
#include "search/gptq.h"
#include "search/ranges.h"
#include "search/scale_refit.h"

namespace awq::search {
namespace {

struct HostRounded final : Rounded {
  quant::QuantizedLinear linear;
  std::vector<double> losses;  // one a row, where something has computed them
};

HostRounded& Of(Rounded& rounded) { return dynamic_cast<HostRounded&>(rounded); }
const HostRounded& Of(const Rounded& rounded) { return dynamic_cast<const HostRounded&>(rounded); }

std::unique_ptr<HostRounded> Hold(quant::QuantizedLinear linear) {
  auto rounded = std::make_unique<HostRounded>();
  rounded->linear = std::move(linear);
  return rounded;
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

}  // namespace

HostArithmetic::HostArithmetic(ThreadPool& pool, const ScaledLinears& linears,
                               SiteStatistics& statistics)
    : pool_(pool),
      linears_(linears),
      spec_(linears.spec),
      statistics_(statistics),
      sketch_rows_(SketchRows(statistics_)),
      judging_rows_(statistics_.held_out.rows() > 0 ? statistics_.held_out : sketch_rows_),
      judges_(linears.weights.size()) {
  for (const MatrixView<const float>& weights : linears_.weights) {
    AWQ_CHECK_EQ(weights.cols, statistics_.gram.cols());
    targets_.push_back(weights);
  }
}

const PairedError& HostArithmetic::Judge(std::size_t linear) {
  std::unique_ptr<PairedError>& judge = judges_[linear];
  if (!judge) judge = std::make_unique<PairedError>(pool_, linears_.weights[linear], judging_rows_);
  return *judge;
}

double HostArithmetic::Factor(const SiteOptions& options) {
  const SiteDamping damping = DampingOf(statistics_.gram.cols(), statistics_.tokens, options);
  factor_ = FactorGram(pool_, statistics_.gram, damping.damping, damping.form);
  return factor_.damping;
}

// W C (H + diag(added))^-1
Matrix<float> HostArithmetic::Change(MatrixView<const float> weights) {
  Matrix<float> change = std::move(statistics_.projected);
  if (change.rows() == 0) {
    change = Matrix<float>(weights.rows, weights.cols);
    math::ParallelMatMul(pool_, math::Plain(weights), math::Plain(statistics_.cross.view()),
                         weights.cols, change);
  }
  SolveRows(pool_, factor_, change);
  return change;
}

double HostArithmetic::CorrectTarget(std::size_t linear) {
  if (statistics_.cross.rows() == 0 && statistics_.projected.rows() == 0) return 0;
  const MatrixView<const float> weights = linears_.weights[linear];
  Matrix<float> change = Change(weights);
  const double alpha = Judge(linear).BestStep(change);
  if (alpha == 0) return 0;
  ForRows(pool_, weights.rows, [&](std::size_t r) {
    for (std::size_t c = 0; c < weights.cols; ++c) {
      change(r, c) = weights(r, c) + static_cast<float>(alpha) * change(r, c);
    }
  });
  corrected_.push_back(std::move(change));
  targets_[linear] = corrected_.back();
  return alpha;
}

std::vector<float> HostArithmetic::TargetProfile() {
  return WeightProfile(pool_, {targets_, spec_});
}

double HostArithmetic::FeedbackLoss(std::size_t linear, std::size_t step, const Scale& scale) {
  const MatrixView<const float> target = targets_[linear];
  Matrix<float> rows(CeilDiv(target.rows, step), target.cols);
  ForRows(pool_, rows.rows(), [&](std::size_t row) {
    std::copy_n(target.row(row * step), target.cols, rows.row(row));
  });
  const Matrix<float> scaled = ScaledWeights(pool_, rows, scale);
  quant::QuantizedLinear rounded =
      MapsOf(pool_, FullRanges(pool_, scaled, spec_), spec_, target.cols);
  const std::vector<double> losses = RoundWithFeedback(pool_, rows, scale, factor_, rounded);
  return std::accumulate(losses.begin(), losses.end(), 0.0);
}

std::vector<double> HostArithmetic::EstimateLosses(std::span<const Scale> candidates) {
  return SketchScaleLosses(pool_, linears_, candidates, statistics_.sketch);
}

std::vector<double> HostArithmetic::ExactLosses(std::span<const Scale> candidates) {
  return ExactScaleLosses(pool_, linears_, candidates, statistics_.gram);
}

RoundedPtr HostArithmetic::RoundToNearest(std::size_t linear, const Scale& scale, bool clip) {
  const MatrixView<const float> weights = linears_.weights[linear];
  const bool is_identity = std::ranges::all_of(scale, [](float s) { return s == 1; });
  if (is_identity && !clip) return Hold(Round(pool_, weights, spec_));
  const Matrix<float> scaled = ScaledWeights(pool_, weights, scale);
  if (!clip) return Hold(Round(pool_, scaled, spec_));
  const Clip bounds = SearchClip(pool_, scaled, statistics_.gram, spec_, scale);
  return Hold(Round(pool_, scaled, spec_, &bounds));
}

std::vector<RoundedPtr> HostArithmetic::RoundTarget(std::size_t linear, const Scale& scale,
                                                    bool also_searched_ranges) {
  const MatrixView<const float> target = targets_[linear];
  const Matrix<float> scaled = ScaledWeights(pool_, target, scale);
  std::vector<RoundedPtr> attempts;
  const auto round_in = [&](const GroupRanges& ranges) {
    auto rounded = Hold(MapsOf(pool_, ranges, spec_, target.cols));
    rounded->losses = RoundWithFeedback(pool_, target, scale, factor_, rounded->linear);
    attempts.push_back(std::move(rounded));
  };
  round_in(FullRanges(pool_, scaled, spec_));
  if (also_searched_ranges) {
    round_in(SearchRanges(pool_, scaled, scale, factor_.conditional_variances(), spec_));
  }
  return attempts;
}

RoundedPtr HostArithmetic::Copy(const Rounded& from) {
  auto copy = Hold(CopyOf(Of(from).linear));
  copy->losses = Of(from).losses;
  return copy;
}

void HostArithmetic::Refit(std::size_t linear, const Scale& scale, Rounded& rounded) {
  const RefitMetric metric{statistics_.gram, factor_.added};
  Of(rounded).losses = RefitScales(pool_, targets_[linear], scale, metric, Of(rounded).linear);
}

void HostArithmetic::RoundAgain(std::size_t linear, const Scale& scale, Rounded& rounded) {
  Of(rounded).losses =
      RoundWithFeedback(pool_, targets_[linear], scale, factor_, Of(rounded).linear);
}

void HostArithmetic::KeepBetterRows(const Rounded& other, Rounded& kept) {
  const HostRounded& from = Of(other);
  HostRounded& to = Of(kept);
  for (std::size_t row = 0; row < to.losses.size(); ++row) {
    if (!(from.losses[row] < to.losses[row])) continue;
    to.losses[row] = from.losses[row];
    std::copy_n(from.linear.codes.row(row), from.linear.codes.cols(), to.linear.codes.row(row));
    std::copy_n(from.linear.scales.row(row), from.linear.groups(), to.linear.scales.row(row));
    std::copy_n(from.linear.zeros.row(row), from.linear.groups(), to.linear.zeros.row(row));
  }
}

double HostArithmetic::Error(std::size_t linear, const Rounded& rounded, const Scale& scale) {
  return Judge(linear).Of(Of(rounded).linear, scale);
}

std::vector<double> HostArithmetic::SketchErrors(std::size_t linear,
                                                 std::span<const Attempted> attempts) {
  const PairedError on_sketch(pool_, linears_.weights[linear], sketch_rows_);
  std::vector<double> errors;
  for (const Attempted& attempt : attempts) {
    errors.push_back(on_sketch.Of(Of(*attempt.rounded).linear, *attempt.scale));
  }
  return errors;
}

quant::QuantizedLinear HostArithmetic::Take(RoundedPtr rounded) {
  return std::move(Of(*rounded).linear);
}

}  // namespace awq::search
