// The sets of instructions that have loops over packed weights: one row each.
#pragma once

#include <string_view>
#include <vector>

#include "kernels/panel_loops.h"

namespace awq::kernels {

struct PanelRow {
  std::string_view name;  // IsaName
  const Int8Loops* int8;
  const ExactLoops* exact;
};

// Those of UsableIsas(), best first.
const std::vector<PanelRow>& PanelRows();

}  // namespace awq::kernels
