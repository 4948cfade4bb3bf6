// Rows of a matrix shared out over the pool, some at a time.
#pragma once

#include <algorithm>
#include <cstddef>

#include "base/checked.h"
#include "base/threads.h"

namespace awq {

// Calls body(row) once for every row in [0, rows).
template <class Body>
void ForRows(ThreadPool& pool, std::size_t rows, Body body) {
  constexpr std::size_t kRowsPerTask = 16;
  pool.ParallelFor(CeilDiv(rows, kRowsPerTask), [&](std::size_t task, std::size_t) {
    const std::size_t end = std::min(rows, (task + 1) * kRowsPerTask);
    for (std::size_t row = task * kRowsPerTask; row < end; ++row) body(row);
  });
}

}  // namespace awq
