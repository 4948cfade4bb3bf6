// The nested parts of config.json; used by ParseConfig only.
#pragma once

#include "io/fields.h"
#include "model/config.h"

namespace awq::model {

// Sets rope_theta and rope_scaling. Needs max_position_embeddings.
Status ParseRope(const io::Fields& fields, ModelConfig& config);

}  // namespace awq::model
