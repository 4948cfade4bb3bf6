// Scales, ranges and rounding that leave less error than the published search, in the same bytes.
#pragma once

#include <span>
#include <vector>

#include "search/gram_factor.h"
#include "search/scale_family.h"

namespace awq::search {

struct PlusOptions {
  std::size_t finalists = 6;  // scales that are tried with the rounding that will follow
};

// A site's scale: of the two-exponent family's best candidates and the identity, the one with the
// least tr(D H D^T) after rounding with feedback.
struct PlusScale {
  ScaleCandidate choice;
  double loss = 0;
  double identity_loss = 0;
};
PlusScale SearchPlusScale(ThreadPool& pool, const ScaledLinears& linears,
                          const SiteStatistics& statistics, const PlusOptions& options = {});

// One linear of the scaled problem: ranges searched, then rounded with feedback.
quant::QuantizedLinear RoundPlus(ThreadPool& pool, MatrixView<const float> weights,
                                 const SiteStatistics& statistics, const GramFactor& factor,
                                 const quant::Spec& spec);

// GPTQ by itself: full ranges, no scale.
quant::QuantizedLinear RoundGptq(ThreadPool& pool, MatrixView<const float> weights,
                                 const GramFactor& factor, const quant::Spec& spec);

}  // namespace awq::search
