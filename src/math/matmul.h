// Dense matrix products by oneDNN, each call on the calling thread alone: work is cut into tiles by
// the problem's size, so that results do not depend on the number of threads.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "base/threads.h"
#include "tensor/tensor.h"

namespace awq::math {

// The arithmetic of inputs; accumulation is fp32 in both.
enum class Precision : unsigned char { kF32, kBF16 };

bool HasFastBF16();  // this CPU multiplies bf16 in hardware

// One factor of a product. `transposed` means that the memory holds the transpose.
struct Operand {
  const void* data = nullptr;
  DType dtype = DType::kF32;  // kF32 or kBF16, both factors alike
  std::size_t stride = 0;     // elements from one stored row to the next
  bool transposed = false;
};

inline Operand Plain(MatrixView<const float> m) { return {m.data, DType::kF32, m.stride, false}; }
inline Operand Plain(MatrixView<const BF16> m) { return {m.data, DType::kBF16, m.stride, false}; }
inline Operand Transposed(MatrixView<const float> m) {
  return {m.data, DType::kF32, m.stride, true};
}
inline Operand Transposed(MatrixView<const BF16> m) {
  return {m.data, DType::kBF16, m.stride, true};
}

// c [m, n] = a [m, k] b [k, n], or added to c. On the calling thread.
void MatMul(const Operand& a, const Operand& b, std::size_t k, MatrixView<float> c,
            bool accumulate = false);

// The same cut into tiles over the pool. Not to be called from inside a ParallelFor.
void ParallelMatMul(ThreadPool& pool, const Operand& a, const Operand& b, std::size_t k,
                    MatrixView<float> c, bool accumulate = false);

// gram [n, n] += x^T x for x [tokens, n]; only tiles on and above the diagonal are computed, call
// MirrorUpper at the end.
void AccumulateGram(ThreadPool& pool, MatrixView<const float> x, MatrixView<float> gram);
void AccumulateGram(ThreadPool& pool, MatrixView<const BF16> x, MatrixView<float> gram);
void MirrorUpper(MatrixView<float> gram);

// The weights of a linear, W [out_features, in_features], rearranged once for y = x W^T.
class PackedWeights {
 public:
  PackedWeights() = default;
  // `rows` [out, in] in the precision's type.
  static PackedWeights Pack(ThreadPool& pool, MatrixView<const float> rows);
  static PackedWeights Pack(ThreadPool& pool, MatrixView<const BF16> rows);

  std::size_t out_features() const { return out_features_; }
  std::size_t in_features() const { return in_features_; }
  Precision precision() const { return precision_; }
  std::size_t bytes() const;

  // y [tokens, out] = x [tokens, in] W^T. x in the precision's type; rows of x need not be dense.
  void Apply(ThreadPool& pool, MatrixView<const float> x, MatrixView<float> y) const;
  void Apply(ThreadPool& pool, MatrixView<const BF16> x, MatrixView<float> y) const;

 private:
  struct Panel;
  template <class T>
  static PackedWeights PackRows(ThreadPool& pool, MatrixView<const T> rows);
  template <class T>
  void ApplyTiles(ThreadPool& pool, MatrixView<const T> x, MatrixView<float> y) const;

  std::vector<std::shared_ptr<const Panel>> panels_;  // each a range of output features
  std::size_t out_features_ = 0;
  std::size_t in_features_ = 0;
  Precision precision_ = Precision::kF32;
};

}  // namespace awq::math
