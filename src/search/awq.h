// The published AWQ search (Lin et al., MLSys 2024) on the Gram matrix of a site's inputs:
// for weights W and H = X^T X / T, the output error of W' is tr((W - W') H (W - W')^T).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/threads.h"
#include "quant/quantized_linear.h"
#include "search/scale_search.h"
#include "search/statistics.h"
#include "tensor/tensor.h"

namespace awq::search {

// Section 3.2, equation 5: s = mean|x|^alpha, alpha on a grid of 20 points 0, 0.05, ..., 0.95,
// normalised by sqrt(max s * min s) and rounded to fp16.
struct ScaleChoice {
  std::vector<float> scale;  // [in]
  double alpha = 0;
  double loss = 0;           // tr(D H D^T), summed over the site's linears, at the best alpha
  double identity_loss = 0;  // at alpha 0: round-to-nearest
  std::size_t exact_evaluations = 0;
};

struct SearchOptions {
  // This many of the candidates that have the least estimates are evaluated exactly, and alpha 0; a
  // site narrower than `exact_below` evaluates all exactly.
  std::size_t finalists = 2;
  std::size_t exact_below = kSketchFrom;
};

// `weights`: every linear that reads the site, [out_i, in].
ScaleChoice SearchScale(ThreadPool& pool, std::span<const MatrixView<const float>> weights,
                        const SiteStatistics& statistics, const quant::Spec& spec,
                        const SearchOptions& options = {});
// The same by whatever knows the losses; without `estimate` all are exact.
ScaleChoice SearchScale(const ScaleLosses& estimate, const ScaleLosses& exact,
                        std::span<const float> mean_abs,
                        std::span<const MatrixView<const float>> weights,
                        const SearchOptions& options = {});

// The same chosen on the sketch alone, which the statistics must have: losses are estimates.
ScaleChoice EstimateScale(ThreadPool& pool, std::span<const MatrixView<const float>> weights,
                          const SiteStatistics& statistics, const quant::Spec& spec);

// The same by whatever estimates the losses.
ScaleChoice EstimateScale(const ScaleLosses& estimate, std::span<const float> mean_abs,
                          std::span<const MatrixView<const float>> weights);

// The largest |w| kept per group, chosen among 10 (1.00, 0.95, ..., 0.55 of the group's own) by the
// group's own output error e H_gg e^T (auto_clip of the paper's code, on all tokens).
struct Clip {
  Matrix<float> bound;          // [out, groups]
  Matrix<std::uint8_t> choice;  // [out, groups], 0..9
};

// `weights` are those of the scaled problem, W diag(s). `gram` is that of the scaled problem too,
// diag(1/s) H diag(1/s), or H itself where `scale` gives s.
Clip SearchClip(ThreadPool& pool, MatrixView<const float> weights, MatrixView<const float> gram,
                const quant::Spec& spec, std::span<const float> scale = {});

// Clamps each group to its bound, where there is a clip, and rounds to nearest.
quant::QuantizedLinear Round(ThreadPool& pool, MatrixView<const float> weights,
                             const quant::Spec& spec, const Clip* clip = nullptr);

// tr(D H D^T) for D = weights - dequantized.
double MeasureOutputError(ThreadPool& pool, MatrixView<const float> weights,
                          const quant::QuantizedLinear& linear, MatrixView<const float> gram);

// W diag(s).
Matrix<float> ScaledWeights(ThreadPool& pool, MatrixView<const float> weights,
                            std::span<const float> scale);
// The Gram matrix of x / s; `to` may be `from`.
void ScaleGram(ThreadPool& pool, std::span<const float> scale, MatrixView<const float> from,
               MatrixView<float> to);
// Turns the Gram matrix and the sketch of x into those of x / s, in place.
void ScaleStatistics(ThreadPool& pool, std::span<const float> scale, SiteStatistics& statistics);

}  // namespace awq::search
