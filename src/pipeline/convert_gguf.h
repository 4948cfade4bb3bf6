// The integers of a GGUF file -> a directory of another format.
#pragma once

#include <awq/result.h>

#include "base/threads.h"
#include "checkpoint/gguf_model.h"
#include "pipeline/convert.h"

namespace awq::pipeline {

// For files whose linears are all Q4_0, Q4_1 or Q8_0. Blocks that share their scale become one
// group, so that what was written from another format comes back as it was. Everything else is
// written in 16 bits, as quantizing writes it. Refused before anything is written: blocks of Q4_1
// whose minimum no zero point gives; without `lossy`, minima that fp16 had rounded and values that
// are no fp16 numbers. An interrupted run is continued.
Result<ConvertReport> ConvertGguf(ThreadPool& pool, const checkpoint::GgufModel& model,
                                  const ConvertOptions& options);

}  // namespace awq::pipeline
