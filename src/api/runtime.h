// Public options -> what the folders below take.
#pragma once

#include <awq/awq.h>

#include <cstddef>
#include <string>

#include "math/matmul.h"
#include "text/windows.h"

namespace awq::api {

math::Precision ResolvePrecision(ComputePrecision wanted);

text::BosMode ToBosMode(Bos bos);

// Tells the sink one line worth reading; nothing without a sink.
void Note(const Runtime& runtime, const std::string& line);

}  // namespace awq::api
