// The nested parts of config.json; used by ParseConfig only.
#pragma once

#include "model/config.h"
#include "model/fields.h"

namespace awq::model {

// Sets rope_theta and rope_scaling. Needs max_position_embeddings.
Status ParseRope(const Fields& fields, ModelConfig& config);

// Sets quantization if the member is there.
Status ParseQuantization(const Fields& fields, ModelConfig& config);

}  // namespace awq::model
