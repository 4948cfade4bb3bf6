// The sets of instructions that have loops over packed weights: one row each.
#pragma once

#include <vector>

#include "kernels/panel_loops.h"

namespace awq::kernels {

struct PanelRow {
  const char* name;  // for messages and tests
  const Int8Loops* int8;
  const ExactLoops* exact;
};

// Those that this CPU has, best first.
const std::vector<PanelRow>& PanelRows();

}  // namespace awq::kernels
