// Rows of a matrix shared out over the pool, some at a time.
#pragma once

#include <algorithm>
#include <cstddef>

#include "base/checked.h"
#include "base/threads.h"

namespace awq::search {

// Of one task, where each reads a matrix as large as the Gram matrix: many, and yet something for
// every worker.
inline std::size_t RowsPerLongTask(std::size_t rows) {
  constexpr std::size_t kTasks = 16;
  constexpr std::size_t kLeastRows = 64;
  constexpr std::size_t kMostRows = 256;
  return std::clamp(rows / kTasks, kLeastRows, kMostRows);
}

template <class Body>
void ForRows(ThreadPool& pool, std::size_t rows, Body body) {
  constexpr std::size_t kRowsPerTask = 16;
  pool.ParallelFor(CeilDiv(rows, kRowsPerTask), [&](std::size_t task, std::size_t) {
    const std::size_t end = std::min(rows, (task + 1) * kRowsPerTask);
    for (std::size_t row = task * kRowsPerTask; row < end; ++row) body(row);
  });
}

}  // namespace awq::search
