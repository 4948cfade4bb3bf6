// Tokens drawn on the GPU, as generate::Sampler draws them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cuda/sample.h"
#include "transformer/draw.h"
#include "transformer/gpu/context.h"

namespace awq::transformer::gpu {

class Sampling {
 public:
  // False where the kernel cannot: sequences with different tokens banned, or too large a
  // vocabulary.
  static bool Takes(std::span<const Draw> draws, std::size_t vocab_size);

  // Brings what the draws say to the device.
  void Place(Context& context, std::span<const Draw> draws, std::size_t vocab_size);
  // What was placed, from logits [rows, vocab_size] on the device, which are overwritten.
  void Launch(Context& context, float* logits);
  // Waits for the tokens.
  Status Fetch(Context& context, std::span<std::int32_t> tokens);

  // Two that have the same are launched alike.
  bool has_seen() const { return seen_ != nullptr; }
  bool has_banned() const { return banned_ != nullptr; }

 private:
  std::uint32_t* PlaceBits(Context& context, Scratch& memory);

  std::size_t rows_ = 0;
  std::size_t vocab_ = 0;
  std::vector<cuda::SampleState> host_states_;
  std::vector<std::uint32_t> host_bits_;
  cuda::SampleState* states_ = nullptr;
  std::uint32_t* seen_ = nullptr;
  std::uint32_t* banned_ = nullptr;
  std::int32_t* tokens_ = nullptr;
  Scratch states_memory_, seen_memory_, banned_memory_, tokens_memory_;
};

}  // namespace awq::transformer::gpu
