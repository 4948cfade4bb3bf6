// What calibration keeps of the inputs X [tokens, in] of a site, and how it is gathered.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/threads.h"
#include "tensor/tensor.h"

namespace awq::search {

struct SiteStatistics {
  std::size_t tokens = 0;
  Matrix<float> gram;           // [in, in] = X^T X / tokens, both triangles
  std::vector<float> mean_abs;  // [in] mean |x|, the AWQ statistic
  std::vector<float> max_abs;   // [in]
  // [rows, in] with sketch^T sketch close to gram: a count sketch (each token is added to one of
  // `rows` rows with a random sign), so that a loss costs out*in*rows instead of out*in*in.
  Matrix<float> sketch;
};

// Accumulates statistics token by token, in the order of the calls; results do not depend on the
// number of threads.
class StatisticsAccumulator {
 public:
  explicit StatisticsAccumulator(std::size_t in_features);

  // x [tokens, in]; a non-finite value is counted, see nonfinite().
  void Add(ThreadPool& pool, MatrixView<const float> x);
  void Add(ThreadPool& pool, MatrixView<const BF16> x);

  std::size_t tokens() const;
  // Divides by the tokens and mirrors; the accumulator is spent. Precondition: tokens() > 0.
  SiteStatistics Finish() &&;

 private:
  template <class T>
  void AddRows(ThreadPool& pool, MatrixView<const T> x);
  SiteStatistics sums_;
};

}  // namespace awq::search
