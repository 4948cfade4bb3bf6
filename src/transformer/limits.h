// What the machine that a network computes on reaches at best.
#pragma once

#include <cstddef>

namespace awq::transformer {

class Limits {
 public:
  virtual ~Limits() = default;
  // Of its memory, over about so many seconds; 0: cannot be measured.
  virtual double BytesPerSecond(double seconds) = 0;
  // Multiplications and additions of dense products, likewise.
  virtual double OperationsPerSecond(double seconds) = 0;
};

}  // namespace awq::transformer
