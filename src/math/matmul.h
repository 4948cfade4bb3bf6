// Dense matrix products by oneDNN, each call on the calling thread alone: work is cut into tiles by
// the problem's size, so that results do not depend on the number of threads.
#pragma once

#include <cstddef>

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

// y [tokens, out] = x [tokens, in] W^T for weights W [out, in] as files hold them: no second copy
// of the weights is made (a rearranged one was measured 0 to 5 % faster from 256 tokens on).
// Operands are alike: both F32, or both BF16.
void ApplyWeights(ThreadPool& pool, MatrixView<const float> x, MatrixView<const float> weights,
                  MatrixView<float> y);
void ApplyWeights(ThreadPool& pool, MatrixView<const BF16> x, MatrixView<const BF16> weights,
                  MatrixView<float> y);

}  // namespace awq::math
