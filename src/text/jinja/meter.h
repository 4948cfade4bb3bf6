// What one rendering may cost: templates come from strangers.
#pragma once

#include <awq/result.h>

#include <algorithm>
#include <cstddef>

#include "base/error.h"

namespace awq::text::jinja {

struct Limits {
  std::size_t steps = 50'000'000;                  // expressions, statements, items looked at
  std::size_t depth = 400;                         // of what is evaluated inside of something
  std::size_t text_bytes = std::size_t{16} << 20;  // of any one text, the output among them
  std::size_t total_bytes = std::size_t{1} << 30;  // of all texts and lists that were ever made
};

class Meter {
 public:
  explicit Meter(const Limits& limits) : limits_(limits) {}

  const Limits& limits() const { return limits_; }

  Status Spend(std::size_t steps) {
    steps_ += std::min(steps, limits_.steps + 1);
    if (steps_ <= limits_.steps) return {};
    return MakeError(ErrorCode::kUnsupported, "takes more than {} steps", limits_.steps);
  }
  // Looking through a text; a step does some bytes.
  Status Scan(std::size_t bytes) { return Spend(1 + bytes / 16); }
  // A text of so many bytes can be; nothing is counted.
  Status Fits(std::size_t bytes) const {
    if (bytes <= limits_.text_bytes) return {};
    return MakeError(ErrorCode::kUnsupported, "makes a text of more than {} bytes",
                     limits_.text_bytes);
  }
  Status Make(std::size_t bytes) {
    bytes_ += std::min(bytes, limits_.total_bytes + 1);
    if (bytes_ <= limits_.total_bytes) return {};
    return MakeError(ErrorCode::kUnsupported, "makes more than {} bytes of texts and lists",
                     limits_.total_bytes);
  }

 private:
  Limits limits_;
  std::size_t steps_ = 0;
  std::size_t bytes_ = 0;
};

}  // namespace awq::text::jinja
