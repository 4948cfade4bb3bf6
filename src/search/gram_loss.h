// Output errors as quadratic forms of the Gram matrix H = X^T X / T of a site's inputs: for rows d
// of W - W', the mean over tokens of the squared output error is the sum over rows of d H d^T.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <vector>

#include "base/threads.h"
#include "tensor/tensor.h"

namespace awq::search {

// Writes row `row` of the residual. Called from several threads.
using FillRow = std::function<void(std::size_t row, float* residual)>;

// sum over rows of d H d^T; residual [rows, in], gram [in, in] symmetric. Holds a bounded block of
// residual rows, and computes half of the product (H is symmetric).
double GramLoss(ThreadPool& pool, std::size_t rows, const FillRow& fill,
                MatrixView<const float> gram);

// Writes the residuals of one group of one row, `candidates` times group_size, and receives
// their losses e H_gg e^T. Both are called from several threads, once per group of each row.
using FillGroup = std::function<void(std::size_t row, std::size_t group, float* residuals)>;
using ReceiveGroup =
    std::function<void(std::size_t row, std::size_t group, std::span<const double> losses)>;

// For every group of every row: fill, multiply by the group's diagonal block of `gram`, receive.
// What a search over the groups' ranges is made of.
void ForEachGroupLoss(ThreadPool& pool, std::size_t rows, std::size_t candidates,
                      const FillGroup& fill, const ReceiveGroup& receive, std::size_t group_size,
                      MatrixView<const float> gram);

}  // namespace awq::search
