// One site quantized on what the quantized part of the model before it really gives it: scales,
// ranges and rounding that leave less error than the published search, in the same bytes, and
// targets that are corrected for the error that the inputs bring with them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "quant/quantized_linear.h"
#include "search/gram_factor.h"
#include "search/paired_error.h"
#include "search/scale_family.h"
#include "search/site_arithmetic.h"
#include "search/statistics.h"

namespace awq::search {

struct SiteProblem {
  ScaledLinears linears;                  // [out_i, in] each, as in the original model
  std::span<const std::uint8_t> clipped;  // one a linear: whether the published method clips it
  bool scalable = true;                   // a scale can be folded into what feeds the site
  HeadTie tie;                            // how
  std::function<bool(const Scale&)> allows = {};  // which ones; empty: any
};

struct SiteOptions {
  bool scales = true;   // search one; else the identity
  bool ranges = true;   // search them; else full ones
  bool refit = true;    // group scales, to the codes
  bool correct = true;  // the targets, where the statistics have pairs
  // Damping as published for GPTQ: one hundredth of mean(H_ii), alike for all channels.
  bool published_damping = false;
  // Also try the published AWQ and rounding to nearest, and keep what is best on held-out tokens.
  bool keep_best = true;
};
inline constexpr SiteOptions kGptqOptions{.scales = false,
                                          .ranges = false,
                                          .refit = false,
                                          .correct = false,
                                          .published_damping = true,
                                          .keep_best = false};

struct LinearSolution {
  quant::QuantizedLinear weights;  // of W diag(s)
  std::string_view chosen;         // "feedback", "awq" or "rtn"
  double correction = 0;           // alpha below; 0 where the targets were not corrected
  LinearQuality quality;
};

struct SiteSolution {
  Scale scale;
  Exponents exponents;
  double damping = 0;
  std::vector<LinearSolution> linears;
};

// 1. Targets (QEP, Arai and Ichikawa 2025): W* = W + alpha W C (H + diag(added))^-1 with H = X^T X
// / T,
//    C = (Y - X)^T X / T; alpha in [0, 1] has the least error on held-out tokens.
// 2. Scale: the identity, or what a search over the two exponents finds with less tr(D H D^T) after
//    rounding with feedback, on some of the rows.
// 3. Rounding with feedback of W* diag(s), in full ranges and in searched ones; each row keeps the
//    better. Then group scales refitted to the codes (RefitScales), in a narrow site twice with
//    codes rounded again in between, where that leaves less error on held-out tokens.
// 4. Keep-best: the whole site by the sum over its linears, then each linear among what was tried
//    with the site's scale.
// Without held-out tokens the sketch stands in for them. The statistics, large as they are, are let
// go of on the way.
SiteSolution SolveSite(ThreadPool& pool, const SiteProblem& problem, SiteStatistics statistics,
                       const SiteOptions& options = {});

// The same with the large matrices wherever `arithmetic`, made of the same linears, has them.
SiteSolution SolveSite(SiteArithmetic& arithmetic, const SiteProblem& problem,
                       const SiteOptions& options);

// Of one linear of the arithmetic: what it loses to nearest, and as chosen. `sums`: Error of both.
LinearQuality MeasureQuality(SiteArithmetic& arithmetic, std::size_t linear,
                             const SiteArithmetic::Attempted& rtn,
                             const SiteArithmetic::Attempted& chosen, const ErrorPair& sums);

// What the factor of H is asked for.
struct SiteDamping {
  double damping = 0;
  DampingForm form = DampingForm::kRoots;
};
SiteDamping DampingOf(std::size_t in_features, std::size_t tokens, const SiteOptions& options);

}  // namespace awq::search
