#include "transformer/gpu/sampling.h"

#include <algorithm>

#include "base/checked.h"

namespace awq::transformer::gpu {
namespace {

constexpr std::size_t kMostVocab = std::size_t{1} << 22;
constexpr std::size_t kBits = 32;

std::int32_t Clamped(std::size_t value) {
  return static_cast<std::int32_t>(std::min<std::size_t>(value, INT32_MAX));
}

void SetBits(std::span<const std::int32_t> tokens, std::span<std::uint32_t> words,
             std::size_t vocab_size) {
  for (const std::int32_t token : tokens) {
    const auto id = static_cast<std::size_t>(token);
    if (token >= 0 && id < vocab_size) words[id / kBits] |= 1U << (id % kBits);
  }
}

cuda::SampleState StateOf(const Draw& draw) {
  return {.temperature = draw.temperature,
          .top_p = draw.top_p,
          .min_p = draw.min_p,
          .repeat_penalty = draw.repeat_penalty,
          .top_k = Clamped(draw.top_k),
          .wide_tokens = Clamped(draw.wide_tokens),
          .wide_temperature = draw.wide_temperature,
          .drawn = Clamped(draw.drawn),
          .random = draw.random_state};
}

}  // namespace

bool Sampling::Takes(std::span<const Draw> draws, std::size_t vocab_size) {
  return vocab_size <= kMostVocab && std::ranges::all_of(draws, [&](const Draw& each) {
           return std::ranges::equal(each.banned, draws.front().banned);
         });
}

std::uint32_t* Sampling::PlaceBits(Context& context, Scratch& memory) {
  auto* const bits = memory.Take<std::uint32_t>(context, host_bits_.size());
  context.lane().Upload(host_bits_.data(), host_bits_.size() * sizeof(std::uint32_t), bits);
  return bits;
}

void Sampling::Place(Context& context, std::span<const Draw> draws, std::size_t vocab_size) {
  rows_ = draws.size();
  vocab_ = vocab_size;
  const std::size_t words = CeilDiv(vocab_size, kBits);
  tokens_ = tokens_memory_.Take<std::int32_t>(context, rows_);
  states_ = states_memory_.Take<cuda::SampleState>(context, rows_);
  host_states_.clear();
  for (const Draw& each : draws) host_states_.push_back(StateOf(each));
  context.lane().Upload(host_states_.data(), rows_ * sizeof(cuda::SampleState), states_);
  seen_ = nullptr;
  banned_ = nullptr;
  const auto penalizes = [](const Draw& each) { return each.repeat_penalty != 1; };
  if (std::ranges::any_of(draws, penalizes)) {
    host_bits_.assign(rows_ * words, 0);
    for (std::size_t i = 0; i < rows_; ++i) {
      SetBits(draws[i].seen, std::span(host_bits_).subspan(i * words, words), vocab_size);
    }
    seen_ = PlaceBits(context, seen_memory_);
  }
  if (!draws.empty() && !draws.front().banned.empty()) {
    host_bits_.assign(words, 0);
    SetBits(draws.front().banned, host_bits_, vocab_size);
    banned_ = PlaceBits(context, banned_memory_);
  }
}

void Sampling::Launch(Context& context, float* logits) {
  cuda::SampleTask task;
  task.logits = logits;
  task.vocab = static_cast<int>(vocab_);
  task.rows = static_cast<int>(rows_);
  task.states = states_;
  task.seen = seen_;
  task.banned = banned_;
  task.tokens = tokens_;
  context.Do([&] { return cuda::Sample(task, context.stream()); });
}

Status Sampling::Fetch(Context& context, std::span<std::int32_t> tokens) {
  context.Do([&] {
    return cuda::CopyToHost(tokens.data(), tokens_, tokens.size_bytes(), context.stream());
  });
  return context.Synchronize();
}

}  // namespace awq::transformer::gpu
