// Families of scale candidates beyond the published one.
#pragma once

#include <span>
#include <vector>

#include "search/scale_search.h"

namespace awq::search {

// Channels that must share one scale: `shared` consecutive heads of head_dim channels each read the
// same key-value head (grouped queries), so that what produces them can give but one.
struct HeadTie {
  std::size_t shared = 1;  // 1: nothing is tied
  std::size_t head_dim = 1;
};
// [in]: each value is the mean of those that it is tied to.
std::vector<float> Tied(std::span<const float> values, const HeadTie& tie);

// [in]: the mean over all rows of |w| / max |w| of its group.
std::vector<float> WeightProfile(ThreadPool& pool, const ScaledLinears& linears);

// mean_abs^a / profile^b, normalised: large activations are favoured as published, weights that
// are large in their groups held back. (0, 0) is the identity. Where no weight reads a channel, its
// scale is the largest of the others: it decides nothing.
struct Exponents {
  double activation = 0;
  double weight = 0;
  friend bool operator==(const Exponents&, const Exponents&) = default;
};
Scale TwoExponentScale(std::span<const float> mean_abs, std::span<const float> profile,
                       const Exponents& exponents);

}  // namespace awq::search
