// What a model needs so that ranks can share its linears evenly.
#pragma once

#include <awq/result.h>

#include <cstddef>

#include "model/config.h"

namespace awq::checkpoint {

// The least intermediate_size, not below the model's, of which every rank has whole groups and a
// multiple of 64, the smaller side of the tiles that serving programs compute with.
// `group_size` 0: whole rows. Error: what no padding mends, namely heads that the ranks cannot
// share, or inputs of the attention's output that are no whole groups a rank.
Result<std::size_t> SharedIntermediateSize(const model::ModelConfig& config, std::size_t ranks,
                                           std::size_t group_size);

}  // namespace awq::checkpoint
