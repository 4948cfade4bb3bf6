// How far numbers move by being stored in a type that does not hold them all.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace awq::pack {

struct Movement {
  std::size_t count = 0;  // of numbers that moved
  double largest_absolute = 0;
  double largest_relative = 0;  // of what it was, where that was not 0

  void Note(double before, double after) {
    if (before == after) return;
    const double change = std::fabs(after - before);
    ++count;
    largest_absolute = std::max(largest_absolute, change);
    if (before != 0) largest_relative = std::max(largest_relative, change / std::fabs(before));
  }
  void Add(const Movement& other) {
    count += other.count;
    largest_absolute = std::max(largest_absolute, other.largest_absolute);
    largest_relative = std::max(largest_relative, other.largest_relative);
  }
};

}  // namespace awq::pack
