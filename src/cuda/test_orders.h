// The ways in which the emulator can take threads and copies.
#pragma once

#include <vector>

#include "cuda/emulator.h"

namespace awq::cuda::simt {

inline std::vector<Options> AllOptions() {
  std::vector<Options> all;
  for (const Order order : {Order::kForward, Order::kBackward, Order::kShuffled}) {
    all.push_back({order, false});
    all.push_back({order, true});
  }
  return all;
}

}  // namespace awq::cuda::simt
