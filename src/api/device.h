// Runtime::device -> a GPU or the CPU.
#pragma once

#include <awq/awq.h>

#include <cstddef>
#include <optional>
#include <string>

#include "model/config.h"

namespace awq::api {

struct GpuNeeds {
  const model::ModelConfig* config = nullptr;
  std::string obstacle = {};    // why it must be the CPU; empty: nothing
  std::size_t bytes = 0;        // of the GPU's memory, about
  std::size_t least_bytes = 0;  // of these, what is taken for sure
};

// The GPU's number, none for the CPU; "auto" is the first GPU if it has what is needed with a fifth
// to spare. Tells the sink which GPU it is, and why "auto" is the CPU. Errors: a device that is
// unknown or not there, or lacks what is needed.
Result<std::optional<int>> ChooseGpu(const Runtime& runtime, const GpuNeeds& needs);

}  // namespace awq::api
