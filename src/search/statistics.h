// What calibration keeps of the inputs X [tokens, in] of a site, and how it is gathered.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/threads.h"
#include "tensor/tensor.h"

namespace awq::search {

// Rows of the sketch, and the narrowest site that has one: below, the exact loss costs no more.
inline constexpr std::size_t kSketchRows = 256;
inline constexpr std::size_t kSketchFrom = 1024;

struct SiteStatistics {
  std::size_t tokens = 0;
  Matrix<float> gram;           // [in, in] = X^T X / tokens, both triangles
  std::vector<float> mean_abs;  // [in] mean |x|, the AWQ statistic
  std::vector<float> max_abs;   // [in]
  // [rows, in] with sketch^T sketch close to gram: a count sketch (each token is added to a random
  // row with a random sign), so that a loss costs out*in*rows instead of out*in*in. Empty for
  // sites narrower than kSketchFrom.
  Matrix<float> sketch;
};

enum class Gather : std::uint8_t {
  kAll,
  kMagnitudes,  // mean_abs and max_abs alone
};

// Accumulates statistics token by token, in the order of the calls; results do not depend on the
// number of threads. All but the last bits of the Gram matrix are also independent of how the
// tokens were divided among calls.
class StatisticsAccumulator {
 public:
  explicit StatisticsAccumulator(std::size_t in_features, Gather what = Gather::kAll);

  // x [tokens, in]; a non-finite value is counted, see nonfinite().
  void Add(ThreadPool& pool, MatrixView<const float> x);
  void Add(ThreadPool& pool, MatrixView<const BF16> x);

  std::size_t tokens() const { return sums_.tokens; }
  // Infinities and NaNs seen so far. Where there are any, the statistics are worthless: the caller
  // reports the site.
  std::size_t nonfinite() const { return nonfinite_; }

  // Divides by the tokens and mirrors; the accumulator is spent. Precondition: tokens() > 0.
  SiteStatistics Finish() &&;

 private:
  template <class T>
  void AddRows(ThreadPool& pool, MatrixView<const T> x);

  SiteStatistics sums_;
  std::vector<double> abs_sums_;  // [in]
  std::size_t nonfinite_ = 0;
};

}  // namespace awq::search
