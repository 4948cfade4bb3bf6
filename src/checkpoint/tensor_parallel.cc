#include "checkpoint/tensor_parallel.h"

#include <algorithm>
#include <numeric>

#include "base/checked.h"
#include "base/error.h"

namespace awq::checkpoint {
namespace {

constexpr std::size_t kTile = 64;

Status CheckAttention(const model::ModelConfig& config, std::size_t ranks, std::size_t group_size) {
  const std::size_t heads = config.num_attention_heads;
  const std::size_t kv = config.num_key_value_heads;
  if (ranks == 0 || heads % ranks != 0 || (kv % ranks != 0 && ranks % kv != 0)) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "--tp-pad {}: the model has {} attention heads and {} key-value heads, which "
                     "so many ranks cannot share; no padding can mend that",
                     ranks, heads, kv);
  }
  const std::size_t inputs = config.q_width() / ranks;
  if (group_size == 0 || inputs % group_size == 0) return {};
  std::size_t fits = group_size;
  while (fits > 1 && inputs % fits != 0) fits /= 2;
  return MakeError(ErrorCode::kInvalidArgument,
                   "--tp-pad {}: of the attention's output each rank has {} inputs, no multiple of "
                   "the group size {}; no padding can mend that, --group-size {} would",
                   ranks, inputs, group_size, fits);
}

}  // namespace

Result<std::size_t> SharedIntermediateSize(const model::ModelConfig& config, std::size_t ranks,
                                           std::size_t group_size) {
  AWQ_TRY(CheckAttention(config, ranks, group_size));
  const auto step = CheckedProduct({ranks, std::lcm(std::max<std::size_t>(1, group_size), kTile)});
  constexpr std::size_t kMostFeatures = std::size_t{1} << 20;  // of config.json
  const std::size_t size =
      step ? CeilDiv(config.intermediate_size, *step) * *step : kMostFeatures + 1;
  if (size <= kMostFeatures) return size;
  return MakeError(ErrorCode::kInvalidArgument,
                   "--tp-pad {} with groups of {}: intermediate_size would be above {}", ranks,
                   group_size, kMostFeatures);
}

}  // namespace awq::checkpoint
