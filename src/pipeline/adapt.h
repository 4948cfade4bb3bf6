// Rows of a linear made fit for another format, and what that changes.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <string>
#include <string_view>

#include "pack/format.h"

namespace awq::pipeline {

// What a format makes of one linear's numbers.
struct Changes {
  std::size_t scales = 0;           // rounded to the dtype of the file
  double largest_scale_change = 0;  // relative
  std::size_t zeros = 0;            // moved by one, their codes with them
  std::size_t weights = 0;          // that lost a step thereby, being at the largest code
  bool any() const { return scales > 0 || zeros > 0; }
  void Add(const Changes& other);
};

std::string Text(const Changes& changes);  // "12 scales by up to 0.03 %"

// Scales become values of `dtype`, zero points at least `least_zero`. Errors: a scale that the
// dtype cannot hold at all (it would become 0 or infinite).
Result<Changes> Adapt(DType dtype, int least_zero, int max_code, const pack::MutableRows& rows,
                      std::string_view module);

}  // namespace awq::pipeline
