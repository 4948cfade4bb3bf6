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

// Some tokens as they are: what a site reads in the quantized model, and, where the two differ,
// what the same tokens give it in the original one.
struct PairedRows {
  Matrix<float> inputs;   // [rows, in]
  Matrix<float> targets;  // [rows, in], or empty: the same

  std::size_t rows() const { return inputs.rows(); }
};

struct SiteStatistics {
  std::size_t tokens = 0;
  Matrix<float> gram;           // [in, in] = X^T X / tokens, both triangles
  std::vector<float> mean_abs;  // [in] mean |x|, the AWQ statistic
  std::vector<float> max_abs;   // [in]
  // [rows, in] with sketch^T sketch close to gram: a count sketch (each token is added to a random
  // row with a random sign), so that a loss costs out*in*rows instead of out*in*in. Empty for
  // sites narrower than kSketchFrom.
  Matrix<float> sketch;
  // Of paired inputs X (here) and Y (in the original model): (Y - X)^T X / tokens [in, in], and
  // the sketch of Y with the signs and rows of `sketch`; else empty.
  Matrix<float> cross;
  Matrix<float> projected;  // or, where asked for, W (Y - X)^T X / tokens [out, in]
  Matrix<float> target_sketch;
  PairedRows held_out;  // tokens that are in none of the above
};

enum class Gather : std::uint8_t {
  kAll,
  kMagnitudes,  // mean_abs and max_abs alone
  kSequential,  // all; sites of any width have a sketch, and those that are given pairs `cross`
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
  // Paired: x with the targets of the same tokens. Precondition: kSequential.
  void Add(ThreadPool& pool, MatrixView<const float> x, MatrixView<const float> targets);
  void Add(ThreadPool& pool, MatrixView<const BF16> x, MatrixView<const BF16> targets);
  // Before any pair: W C is gathered instead of C, for the weights W [out, in] of a site's only
  // linear. Less memory and less work where in > 2 out. W must outlive the accumulator, and be of
  // the type of the pairs.
  void Project(MatrixView<const float> weights) { projection_f32_ = weights; }
  void Project(MatrixView<const BF16> weights) { projection_bf16_ = weights; }
  // Kept as they are, in the statistics of nothing; targets may have no rows.
  void HoldOut(MatrixView<const float> x, MatrixView<const float> targets);
  void HoldOut(MatrixView<const BF16> x, MatrixView<const BF16> targets);

  std::size_t tokens() const { return sums_.tokens; }
  // Infinities and NaNs seen so far. Where there are any, the statistics are worthless: the caller
  // reports the site.
  std::size_t nonfinite() const { return nonfinite_; }

  // Divides by the tokens and mirrors; the accumulator is spent. Precondition: tokens() > 0.
  SiteStatistics Finish() &&;

 private:
  template <class T>
  void AddRows(ThreadPool& pool, MatrixView<const T> x);
  template <class T>
  void AddPairs(ThreadPool& pool, MatrixView<const T> x, MatrixView<const T> targets);
  template <class T>
  void AddToSums(ThreadPool& pool, MatrixView<const T> x, std::size_t first_token,
                 std::vector<double>& abs_sums, std::vector<float>& max_abs, Matrix<float>& sketch);
  template <class T>
  void BeginPairs(std::size_t in_features, MatrixView<const T> projection);
  template <class T>
  void Keep(MatrixView<const T> x, MatrixView<const T> targets);

  SiteStatistics sums_;
  std::vector<double> abs_sums_;  // [in]
  // Scratch of pairs, kept from call to call.
  Matrix<float> difference_f32_;
  Matrix<BF16> difference_bf16_;
  MatrixView<const float> projection_f32_;
  MatrixView<const BF16> projection_bf16_;
  // Of the targets, whose magnitudes nobody asks for.
  std::vector<double> target_abs_sums_;
  std::vector<float> target_max_abs_;
  std::size_t nonfinite_ = 0;
};

}  // namespace awq::search
