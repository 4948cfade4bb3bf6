// The matrices of a site on an NVIDIA GPU, in fp32 as on the CPU: the same choices within
// docs/tolerances.md. Not yet: groups that the kernels do not hold (CanHold).
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "cuda/rounding.h"
#include "search/gpu/judge.h"
#include "search/gpu/queue.h"
#include "search/gpu/statistics.h"
#include "search/site.h"
#include "search/site_arithmetic.h"

namespace awq::search::gpu {

// Whether a site of these inputs and groups can be solved on a GPU whose blocks may have so much
// shared memory; else it is for the CPU.
bool CanHold(const quant::Spec& spec, std::size_t in_features, std::size_t shared_bytes);

// Where the queue has a fault, what comes of it is of no use: ask it after SolveSite.
class DeviceArithmetic final : public SiteArithmetic {
 public:
  // All must outlive this. Of the statistics goes what EndCorrection lets go of. Precondition:
  // CanHold.
  DeviceArithmetic(Queue& queue, const ScaledLinears& linears, DeviceStatistics& statistics);

  std::span<const float> mean_abs() const override { return statistics_.mean_abs; }
  std::size_t held_out_rows() const override {
    return static_cast<std::size_t>(statistics_.held_out.rows);
  }
  double Factor(const SiteOptions& options) override;
  double CorrectTarget(std::size_t linear) override;
  void EndCorrection() override { statistics_.cross = {}; }
  void EndRefit() override {}  // the clip search may still want H, and memory is not short
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
  double Energy(std::size_t linear) override { return JudgeOf(linear).energy(); }
  std::vector<double> SketchErrors(std::size_t linear,
                                   std::span<const Attempted> attempts) override;
  quant::QuantizedLinear Take(RoundedPtr rounded) override;

 private:
  struct Codes;
  static Codes& Of(Rounded& rounded);
  static const Codes& Of(const Rounded& rounded);
  std::unique_ptr<Codes> MakeCodes(int rows);
  const float* Place(const Scale& scale);
  std::vector<float> Units(const Scale& scale) const;
  Judge& JudgeOf(std::size_t linear);
  std::vector<float> DiagonalOf(const Buffer& matrix) const;  // [in, in]
  Buffer Change(std::size_t linear);
  // sum_ij (D b)_ij e_ij for each candidate's D = W - Q(W diag(s)) diag(1/s), e = D b; where
  // `with_residual`, e = D.
  std::vector<double> Losses(std::span<const Scale> candidates, const cuda::DeviceMatrix& b,
                             bool b_transposed, bool with_residual);
  // d H d^T of rows that have their maps.
  void RoundWithFeedback(const cuda::DeviceMatrix& weights, const Scale& scale,
                         const cuda::DeviceCodes& rounded, double* losses);
  double ErrorOf(Judge& judge, std::size_t linear, const Rounded& rounded, const Scale& scale);

  Queue& queue_;
  quant::Spec spec_;
  cuda::CodeSpec codes_;
  int in_;
  DeviceStatistics& statistics_;
  std::vector<float> variances_;  // L_kk^2, by channel
  Buffer order_, added_, lower_, inverses_;
  Buffer scale_;  // what placed_ is
  Scale placed_;
  std::vector<Buffer> weights_;    // one a linear
  std::vector<Buffer> corrected_;  // empty where the target is W
  std::vector<cuda::DeviceMatrix> originals_, targets_;
  std::vector<std::optional<Judge>> judges_;  // once asked
};

}  // namespace awq::search::gpu
