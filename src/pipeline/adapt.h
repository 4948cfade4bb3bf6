// Rows of a linear made fit for another format, and what that changes.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <string>
#include <string_view>

#include "pack/format.h"
#include "pack/movement.h"

namespace awq::pipeline {

// What a format makes of one linear's numbers.
struct Changes {
  pack::Movement scales;    // rounded to the dtype of the file
  pack::Movement zeros;     // raised, their codes with them
  std::size_t weights = 0;  // that lost a step thereby, being at the largest code
  bool any() const { return scales.count > 0 || zeros.count > 0; }
  void Add(const Changes& other);
};

// What a conversion moved of all linears and tensors.
struct Moved {
  pack::Movement scales;
  pack::Movement zeros;
  pack::Movement minima;  // of GGUF's blocks
  pack::Movement values;  // of tensors that are not quantized
};

std::string Text(const Changes& changes);  // "12 scales by up to 0.03 %"

// Scales become values of `dtype`, zero points at least `least_zero`. `group_of` is the group of
// each input, empty where they are in order. Errors: a scale that the dtype cannot hold at all (it
// would become 0 or infinite).
Result<Changes> Adapt(DType dtype, int least_zero, int max_code,
                      std::span<const std::uint32_t> group_of, const pack::MutableRows& rows,
                      std::string_view module);

}  // namespace awq::pipeline
