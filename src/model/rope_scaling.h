// How rotary frequencies are scaled.
#pragma once

#include "model/config.h"

namespace awq::model {

// What becomes of an unscaled frequency theta^(-2 pair / head_dim), in radians a position.
double ScaledFrequency(const RopeScaling& scaling, double frequency);

}  // namespace awq::model
