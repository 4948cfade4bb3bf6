// What searches do with the large matrices of a site, wherever they lie: site_host.h has them on
// the CPU, gpu/site.h on a GPU. What is asked of it in which order, and what is chosen, is
// theirs alone.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "quant/quantized_linear.h"
#include "search/scale_search.h"

namespace awq::search {

struct SiteOptions;

// A linear's codes, where the arithmetic has them.
class Rounded {
 public:
  Rounded() = default;
  Rounded(const Rounded&) = delete;
  Rounded& operator=(const Rounded&) = delete;
  virtual ~Rounded() = default;
};
using RoundedPtr = std::unique_ptr<Rounded>;

// Of some of the site's linears, by their places, and of its statistics. The weights W are
// the original model's; targets are those until they are corrected. A scale s has one number an
// input.
class SiteArithmetic {
 public:
  SiteArithmetic() = default;
  SiteArithmetic(const SiteArithmetic&) = delete;
  SiteArithmetic& operator=(const SiteArithmetic&) = delete;
  virtual ~SiteArithmetic() = default;

  virtual std::span<const float> mean_abs() const = 0;  // [in]
  // Tokens that errors are judged on; 0: the sketch stands in for them.
  virtual std::size_t held_out_rows() const = 0;

  // Once, before targets are corrected or rounded. Returns the damping that the factor of H needed.
  virtual double Factor(const SiteOptions& options) = 0;

  // The target becomes W + alpha W C (H + diag(added))^-1 with the alpha in [0, 1] that has the
  // least error; returns alpha, 0 where the inputs came in no pairs.
  virtual double CorrectTarget(std::size_t linear) = 0;
  // None is corrected after this.
  virtual void EndCorrection() = 0;
  // RefitScales is not called after this.
  virtual void EndRefit() = 0;

  virtual std::vector<float> TargetProfile() = 0;  // WeightProfile of all targets
  // The sum of d H d^T over every step-th row, rounded with feedback in full ranges.
  virtual double FeedbackLoss(std::size_t linear, std::size_t step, const Scale& scale) = 0;
  // SketchScaleLosses and ExactScaleLosses of the weights.
  virtual std::vector<double> EstimateLosses(std::span<const Scale> candidates) = 0;
  virtual std::vector<double> ExactLosses(std::span<const Scale> candidates) = 0;

  // W diag(s) to nearest; where `clip`, within the bounds of SearchClip.
  virtual RoundedPtr RoundToNearest(std::size_t linear, const Scale& scale, bool clip) = 0;
  // The target with feedback, in full ranges and, where asked for, in those of SearchRanges.
  virtual std::vector<RoundedPtr> RoundTarget(std::size_t linear, const Scale& scale,
                                              bool also_searched_ranges) = 0;
  virtual RoundedPtr Copy(const Rounded& from) = 0;
  // RefitScales to the target, in place.
  virtual void Refit(std::size_t linear, const Scale& scale, Rounded& rounded) = 0;
  // The target's codes anew, with feedback, for the group scales that there are.
  virtual void RoundAgain(std::size_t linear, const Scale& scale, Rounded& rounded) = 0;
  // Row by row, by the losses that both were last given (by RoundTarget, or both by Refit).
  virtual void KeepBetterRows(const Rounded& other, Rounded& kept) = 0;

  // sum || W y - Q diag(1/s) x ||^2 over the judging rows.
  virtual double Error(std::size_t linear, const Rounded& rounded, const Scale& scale) = 0;
  virtual double Energy(std::size_t linear) = 0;  // sum || W y ||^2
  struct Attempted {
    const Rounded* rounded = nullptr;
    const Scale* scale = nullptr;
  };
  // The same sums as Error on the sketch, of several.
  virtual std::vector<double> SketchErrors(std::size_t linear,
                                           std::span<const Attempted> attempts) = 0;

  virtual quant::QuantizedLinear Take(RoundedPtr rounded) = 0;
};

}  // namespace awq::search
