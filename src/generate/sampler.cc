#include "generate/sampler.h"

#include <cmath>
#include <cstddef>
#include <limits>

#include "base/error.h"
#include "math/vector.h"

namespace awq::generate {

Sampler::Sampler(const SamplerOptions& options, std::uint64_t stream)
    : temperature_(options.temperature),
      banned_tokens_(options.banned_tokens),
      random_(options.seed, stream) {}

Result<std::int32_t> Sampler::Next(std::span<float> logits, float temperature) {
  for (std::int32_t token : banned_tokens_) {
    const auto id = static_cast<std::size_t>(token);
    if (token >= 0 && id < logits.size()) logits[id] = -std::numeric_limits<float>::infinity();
  }
  const std::size_t best = math::ArgMax(logits);
  // A NaN anywhere makes the sum NaN, which ArgMax alone could overlook.
  if (!std::isfinite(math::LogSumExp(logits))) {
    return MakeError(
        ErrorCode::kCorrupt,
        "the logits of {} tokens are not finite: the weights are damaged, or too large "
        "for the precision of the computation",
        logits.size());
  }
  if (!(temperature > 0)) return static_cast<std::int32_t>(best);
  math::Softmax(logits, 1 / temperature);
  double left = random_.Uniform();
  std::size_t drawn = best;  // where rounding leaves a little of the sum
  for (std::size_t id = 0; id < logits.size(); ++id) {
    left -= static_cast<double>(logits[id]);
    if (left < 0) {
      drawn = id;
      break;
    }
  }
  return static_cast<std::int32_t>(drawn);
}

}  // namespace awq::generate
