#include "pipeline/stream.h"

#include <algorithm>

#include "base/error.h"
#include "transformer/embedding.h"

namespace awq::pipeline {
namespace {

std::size_t Longest(std::span<const std::size_t> sequence_tokens) {
  return sequence_tokens.empty() ? 0 : *std::ranges::max_element(sequence_tokens);
}

std::vector<SequenceRunner::Group> CutGroups(std::span<const std::size_t> sequence_tokens) {
  std::vector<SequenceRunner::Group> groups;
  std::size_t first = 0;
  for (const std::size_t length : sequence_tokens) {
    if (groups.empty() || groups.back().tokens + length > kTokensInFlight) {
      groups.push_back({.first_token = first, .tokens = 0, .batch = {}});
    }
    SequenceRunner::Group& group = groups.back();
    group.batch.push_back({.tokens = length, .position = 0, .slot = group.batch.size()});
    group.tokens += length;
    first += length;
  }
  return groups;
}

transformer::CacheShape ShapeFor(const std::vector<SequenceRunner::Group>& groups,
                                 std::size_t longest) {
  std::size_t slots = 1;
  for (const auto& group : groups) slots = std::max(slots, group.batch.size());
  return {.layers = 1, .slots = slots, .capacity_tokens = longest, .page_tokens = longest};
}

std::size_t LargestGroup(const std::vector<SequenceRunner::Group>& groups) {
  std::size_t tokens = 0;
  for (const auto& group : groups) tokens = std::max(tokens, group.tokens);
  return tokens;
}

}  // namespace

SequenceRunner::SequenceRunner(ThreadPool& pool, const model::ModelConfig& config,
                               math::Precision precision,
                               std::span<const std::size_t> sequence_tokens, kernels::Packed packed)
    : pool_(pool),
      precision_(precision),
      packed_(packed),
      groups_(CutGroups(sequence_tokens)),
      rope_(config, Longest(sequence_tokens)),
      runner_(pool, config, rope_, precision, packed),
      cache_(config, precision, ShapeFor(groups_, Longest(sequence_tokens))),
      input_(precision, packed),
      hidden_(LargestGroup(groups_), config.hidden_size) {
  for (const Group& group : groups_) tokens_ += group.tokens;
}

Status SequenceRunner::Embed(const TensorView& embedding, std::span<const std::int32_t> ids,
                             HiddenStore& states) {
  AWQ_CHECK_EQ(ids.size(), tokens_);
  for (const Group& group : groups_) {
    const MatrixView<float> hidden = hidden_.view().Rows(0, group.tokens);
    AWQ_TRY(transformer::Embed(embedding, ids.subspan(group.first_token, group.tokens), hidden));
    states.Store(pool_, group.first_token, hidden);
  }
  return {};
}

void SequenceRunner::MakeInput(const transformer::PreparedBlock& block, std::size_t layer,
                               model::Role reader, const Group& group, const HiddenStore& states,
                               kernels::Activations& input) {
  const MatrixView<float> hidden = hidden_.view().Rows(0, group.tokens);
  states.Load(pool_, group.first_token, hidden);
  runner_.MakeInput(block, reader, {layer, 0}, group.batch, cache_, hidden, input);
}

void SequenceRunner::AddOutput(const transformer::PreparedBlock& block, model::Role reader,
                               const Group& group, const kernels::Activations& input,
                               HiddenStore& states) {
  const MatrixView<float> hidden = hidden_.view().Rows(0, group.tokens);
  runner_.AddOutput(block, reader, input, hidden);
  states.Store(pool_, group.first_token, hidden);
}

void SequenceRunner::RunHalf(const transformer::PreparedBlock& block, std::size_t layer,
                             model::Role last, HiddenStore& states) {
  for (const Group& group : groups_) {
    MakeInput(block, layer, last, group, states, input_);
    AddOutput(block, last, group, input_, states);
  }
}

void SequenceRunner::Run(const transformer::PreparedBlock& block, std::size_t layer,
                         HiddenStore& states) {
  RunHalf(block, layer, model::Role::kO, states);
  RunHalf(block, layer, model::Role::kDown, states);
}

void SequenceRunner::ReleaseScratch() {
  runner_.ReleaseScratch();
  input_ = kernels::Activations(precision_, packed_);
}

}  // namespace awq::pipeline
