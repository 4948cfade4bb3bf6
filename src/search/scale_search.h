// Choosing a per-channel scale among candidates, whatever family they come from.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <vector>

#include "base/threads.h"
#include "quant/quantized_linear.h"
#include "search/statistics.h"
#include "tensor/tensor.h"

namespace awq::search {

// The linears that read one site, each [out_i, in], and what they will be rounded to.
struct ScaledLinears {
  std::span<const MatrixView<const float>> weights;
  quant::Spec spec;
};

using Scale = std::vector<float>;  // [in]

// Divided by sqrt(max * min) and rounded to fp16 (within its normal numbers). `scale` > 0.
Scale NormalizeScale(std::span<const double> scale);

// mean_abs^alpha, at least 1e-4, normalised: equation 5 of the paper. alpha 0 is the identity.
Scale ActivationScale(std::span<const float> mean_abs, double alpha);

// mean_abs, but of channels whose weights are all zero the largest of the others: their scale
// changes nothing, and so must not decide how the others are normalised.
std::vector<float> MeansOfReadChannels(std::span<const float> mean_abs,
                                       std::span<const MatrixView<const float>> weights);

// tr(D H D^T), D = W - Q(W diag(s)) diag(1/s), summed over the linears.
double ExactScaleLoss(ThreadPool& pool, const ScaledLinears& linears, std::span<const float> scale,
                      MatrixView<const float> gram);
// Of several.
std::vector<double> ExactScaleLosses(ThreadPool& pool, const ScaledLinears& linears,
                                     std::span<const Scale> candidates,
                                     MatrixView<const float> gram);

// Estimates of the same on a sketch [rows, in] with sketch^T sketch ~ H, one per candidate, in
// bf16 where the CPU multiplies it. For ranking; the sketch's noise is common to all candidates.
std::vector<double> SketchScaleLosses(ThreadPool& pool, const ScaledLinears& linears,
                                      std::span<const Scale> candidates,
                                      MatrixView<const float> sketch);

// Whatever gives the losses of candidates, one each.
using ScaleLosses = std::function<std::vector<double>(std::span<const Scale> candidates)>;

// `always` and the `finalists` candidates that have the least estimates are evaluated exactly.
struct ScreeningOptions {
  std::size_t always = 0;
  std::size_t finalists = 3;
};
struct ScaleSelection {
  std::size_t best = 0;        // the first strict minimum of the exact losses
  std::vector<double> losses;  // exact, NaN where not evaluated
  std::size_t exact_evaluations = 0;
};
// estimate: empty, where all candidates are evaluated exactly.
ScaleSelection SelectScale(const ScaleLosses& estimate, const ScaleLosses& exact,
                           std::span<const Scale> candidates, const ScreeningOptions& options);

}  // namespace awq::search
