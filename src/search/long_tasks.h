// How rows are shared out where each takes long.
#pragma once

#include <algorithm>
#include <cstddef>

namespace awq::search {

// Of one task, where each reads a matrix as large as the Gram matrix: many, and yet something for
// every worker.
inline std::size_t RowsPerLongTask(std::size_t rows) {
  constexpr std::size_t kTasks = 16;
  constexpr std::size_t kLeastRows = 64;
  constexpr std::size_t kMostRows = 256;
  return std::clamp(rows / kTasks, kLeastRows, kMostRows);
}

}  // namespace awq::search
