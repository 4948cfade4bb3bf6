// From logits to the next tokens, on the device, with the meaning and the random numbers of
// generate::Sampler: from equal logits the same token, but where a random number falls within
// rounding (2^-50) of the boundary between two.
#pragma once

#include <cstdint>

#include "cuda/device.h"
#include "cuda/fault.h"

namespace awq::cuda {

// One sequence: what SamplerOptions says, and where it stands.
struct SampleState {
  float temperature = 0;
  float top_p = 1;
  float min_p = 0;
  float repeat_penalty = 1;
  std::int32_t top_k = 0;
  std::int32_t wide_tokens = 0;
  float wide_temperature = 1;
  std::int32_t drawn = 0;    // tokens so far
  std::uint64_t random = 0;  // FirstRandom(seed, stream)
};

// SplitMix64, as base/random.h has it.
std::uint64_t FirstRandom(std::uint64_t seed, std::uint64_t stream);

struct SampleTask {
  float* logits = nullptr;  // [rows, vocab], overwritten
  int vocab = 0;            // 2^22 at most
  int rows = 0;
  const std::int32_t* slots = nullptr;    // [rows], of what follows; null: the first ones
  SampleState* states = nullptr;          // by slot; brought up to date
  std::uint32_t* seen = nullptr;          // by slot, a bit a token: [ceil(vocab / 32)]; or null
  const std::uint32_t* banned = nullptr;  // the same for all; or null
  // [rows]; -1 where a logit is NaN or infinite, or none is finite. Such a state stays.
  std::int32_t* tokens = nullptr;
};
Fault Sample(const SampleTask& task, StreamHandle stream);

}  // namespace awq::cuda
