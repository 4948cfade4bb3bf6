// What a conversion will read and write, decided from headers.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/reader.h"
#include "io/safetensors.h"
#include "pack/format.h"

namespace awq::pipeline {

// A packed linear, or a piece of a tensor that is copied.
struct ConvertItem {
  std::optional<checkpoint::PackedLinear> packed;
  pack::Form target;   // of a packed one
  std::string tensor;  // else: its name, and the piece
  TensorView view;
  std::size_t offset_bytes = 0;
  std::size_t size_bytes = 0;  // what it adds to the output
};

struct ConvertPlan {
  const pack::Format* format = nullptr;
  pack::StoredQuantization stored;
  std::vector<ConvertItem> items;       // in the order of the files that are read
  std::vector<io::TensorInfo> tensors;  // of the output
};

// `scale_dtype` is that of the output's scales. Errors: nothing is packed, mixed precision, a
// linear that the format cannot hold (names it and the formats that could).
Result<ConvertPlan> PlanConversion(const checkpoint::ModelDirectory& model,
                                   const pack::Format& format, DType scale_dtype);

}  // namespace awq::pipeline
