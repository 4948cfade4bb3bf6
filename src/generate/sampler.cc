#include "generate/sampler.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

#include "base/error.h"
#include "math/vector.h"

namespace awq::generate {
namespace {

constexpr float kColdest = 1e-6F;  // whose inverse a float holds; any colder one is 0

Error NotFinite(std::size_t vocab_size) {
  return MakeError(ErrorCode::kCorrupt,
                   "the logits of {} tokens are not finite: the weights are damaged, or too large "
                   "for the precision of the computation",
                   vocab_size);
}

}  // namespace

Sampler::Sampler(const SamplerOptions& options, std::uint64_t stream)
    : options_(options), random_(options.seed, stream) {}

void Sampler::See(std::span<const std::int32_t> tokens) {
  if (options_.repeat_penalty == 1) return;
  for (const std::int32_t token : tokens) {
    const auto place = std::ranges::lower_bound(seen_, token);
    if (place == seen_.end() || *place != token) seen_.insert(place, token);
  }
}

void Sampler::Penalize(std::span<float> logits) const {
  for (const std::int32_t token : seen_) {
    const auto id = static_cast<std::size_t>(token);
    if (token < 0 || id >= logits.size()) continue;
    logits[id] = logits[id] > 0 ? logits[id] / options_.repeat_penalty
                                : logits[id] * options_.repeat_penalty;
  }
  for (const std::int32_t token : options_.banned_tokens) {
    const auto id = static_cast<std::size_t>(token);
    if (token >= 0 && id < logits.size()) logits[id] = -std::numeric_limits<float>::infinity();
  }
}

Result<std::int32_t> Sampler::Next(std::span<float> logits) {
  Penalize(logits);
  const std::size_t best = math::ArgMax(logits);
  // A NaN anywhere makes the sum NaN, which ArgMax alone could overlook.
  if (!std::isfinite(math::LogSumExp(logits))) {
    return NotFinite(logits.size());
  }
  auto drawn = static_cast<std::int32_t>(best);
  const float now = temperature();
  ++drawn_;
  if (now > kColdest) {
    math::Softmax(logits, 1 / now);
    const double share = random_.Uniform();
    drawn = cuts() ? PickOfSome(logits, share, best) : Pick(logits, share, best);
  }
  See({&drawn, 1});
  return drawn;
}

transformer::Draw Sampler::draw() const {
  return {.temperature = options_.temperature,
          .top_k = options_.top_k,
          .top_p = options_.top_p,
          .min_p = options_.min_p,
          .repeat_penalty = options_.repeat_penalty,
          .wide_tokens = options_.wide_tokens,
          .wide_temperature = options_.wide_temperature,
          .drawn = drawn_,
          .random_state = random_.state(),
          .seen = seen_,
          .banned = options_.banned_tokens};
}

Result<std::int32_t> Sampler::Take(std::int32_t token, std::size_t vocab_size) {
  if (token < 0) return NotFinite(vocab_size);
  if (temperature() > kColdest) (void)random_.Next();
  ++drawn_;
  See({&token, 1});
  return token;
}

std::int32_t Sampler::Pick(std::span<const float> probabilities, double mass, std::size_t best) {
  for (std::size_t id = 0; id < probabilities.size(); ++id) {
    mass -= static_cast<double>(probabilities[id]);
    if (mass < 0) return static_cast<std::int32_t>(id);
  }
  return static_cast<std::int32_t>(best);  // where rounding leaves a little of the sum
}

std::int32_t Sampler::PickOfSome(std::span<const float> probabilities, double share,
                                 std::size_t best) {
  // Less likely than: of equals the higher id.
  const auto less = [](const Candidate& a, const Candidate& b) {
    return a.probability != b.probability ? a.probability < b.probability : a.token > b.token;
  };
  const float least = options_.min_p * probabilities[best];
  candidates_.clear();
  for (std::size_t id = 0; id < probabilities.size(); ++id) {
    candidates_.push_back({probabilities[id], static_cast<std::int32_t>(id)});
  }
  // A heap gives them one by one, the most likely first, without sorting what nobody asks for.
  if (options_.top_k > 0 && options_.top_k < candidates_.size()) {
    const auto kth = candidates_.begin() + static_cast<std::ptrdiff_t>(options_.top_k - 1);
    std::nth_element(candidates_.begin(), kth, candidates_.end(),
                     [&](const Candidate& a, const Candidate& b) { return less(b, a); });
    const float lowest = kth->probability;  // whose equals stay
    std::erase_if(candidates_, [&](const Candidate& each) { return each.probability < lowest; });
  }
  double all = 0;
  for (const Candidate& each : candidates_) all += static_cast<double>(each.probability);
  std::make_heap(candidates_.begin(), candidates_.end(), less);
  auto end = candidates_.end();
  double mass = 0;  // of those from `end` on, which are kept
  while (end != candidates_.begin()) {
    const bool enough = mass >= static_cast<double>(options_.top_p) * all;
    if (mass > 0 && (enough || candidates_.front().probability < least)) break;
    std::pop_heap(candidates_.begin(), end, less);
    mass += static_cast<double>((--end)->probability);
  }
  double left = share * mass;
  for (auto each = candidates_.end(); each != end;) {
    left -= static_cast<double>((--each)->probability);
    if (left < 0) return each->token;
  }
  return static_cast<std::int32_t>(best);
}

}  // namespace awq::generate
