// Families of scale candidates beyond the published one.
#pragma once

#include <span>
#include <vector>

#include "search/scale_search.h"

namespace awq::search {

// [in]: the mean over all rows of |w| / max |w| of its group.
std::vector<float> WeightProfile(ThreadPool& pool, const ScaledLinears& linears);

// mean_abs^a / profile^b, normalised: large activations are favoured as published, weights that
// are large in their groups held back. (0, 0) is the identity.
struct Exponents {
  double activation = 0;
  double weight = 0;
  friend bool operator==(const Exponents&, const Exponents&) = default;
};
Scale TwoExponentScale(std::span<const float> mean_abs, std::span<const float> profile,
                       const Exponents& exponents);

struct ScaleCandidate {
  Scale scale;
  Exponents exponents;
};

// The `count` candidates with the least loss after rounding to nearest, the best first: of a coarse
// grid of 6 x 4 exponents and of the neighbours of its two best. Losses are estimated on the sketch
// where the site has one, else exact.
std::vector<ScaleCandidate> TwoExponentCandidates(ThreadPool& pool, const ScaledLinears& linears,
                                                  const SiteStatistics& statistics,
                                                  std::size_t count);

}  // namespace awq::search
