// The matrices of a site on the CPU.
#pragma once

#include <memory>
#include <vector>

#include "base/threads.h"
#include "search/gram_factor.h"
#include "search/paired_error.h"
#include "search/site.h"
#include "search/site_arithmetic.h"

namespace awq::search {

class HostArithmetic final : public SiteArithmetic {
 public:
  // All must outlive this. Of the statistics goes what EndCorrection and EndRefit let go of.
  HostArithmetic(ThreadPool& pool, const ScaledLinears& linears, SiteStatistics& statistics);

  std::span<const float> mean_abs() const override { return statistics_.mean_abs; }
  std::size_t held_out_rows() const override { return statistics_.held_out.rows(); }
  double Factor(const SiteOptions& options) override;
  double CorrectTarget(std::size_t linear) override;
  void EndCorrection() override { statistics_.cross = {}; }
  void EndRefit() override { statistics_.gram = {}; }
  std::vector<float> TargetProfile() override;
  double FeedbackLoss(std::size_t linear, std::size_t step, const Scale& scale) override;
  std::vector<double> EstimateLosses(std::span<const Scale> candidates) override;
  std::vector<double> ExactLosses(std::span<const Scale> candidates) override;
  RoundedPtr RoundToNearest(std::size_t linear, const Scale& scale, bool clip) override;
  std::vector<RoundedPtr> RoundTarget(std::size_t linear, const Scale& scale,
                                      bool also_searched_ranges) override;
  RoundedPtr Copy(const Rounded& from) override;
  void Refit(std::size_t linear, const Scale& scale, Rounded& rounded) override;
  void RoundAgain(std::size_t linear, const Scale& scale, Rounded& rounded) override;
  void KeepBetterRows(const Rounded& other, Rounded& kept) override;
  double Error(std::size_t linear, const Rounded& rounded, const Scale& scale) override;
  double Energy(std::size_t linear) override { return Judge(linear).energy(); }
  std::vector<double> SketchErrors(std::size_t linear,
                                   std::span<const Attempted> attempts) override;
  quant::QuantizedLinear Take(RoundedPtr rounded) override;

 private:
  const PairedError& Judge(std::size_t linear);
  Matrix<float> Change(MatrixView<const float> weights);

  ThreadPool& pool_;
  ScaledLinears linears_;
  quant::Spec spec_;
  SiteStatistics& statistics_;
  PairedRows sketch_rows_;
  const PairedRows& judging_rows_;
  GramFactor factor_;
  std::vector<std::unique_ptr<PairedError>> judges_;  // one a linear, once asked
  std::vector<MatrixView<const float>> targets_;      // what is rounded, one a linear
  std::vector<Matrix<float>> corrected_;              // what targets_ views where corrected
};

}  // namespace awq::search
