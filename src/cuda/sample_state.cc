#include "cuda/sample.h"
#include "cuda/sample_random.cuh"

namespace awq::cuda {

std::uint64_t FirstRandom(std::uint64_t seed, std::uint64_t stream) {
  return MixRandom(MixRandom(seed) + kRandomStep * stream);
}

}  // namespace awq::cuda
