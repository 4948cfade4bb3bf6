// fp32 matrices on the device: products, a triangular factor, sums. Launches on a stream of the
// current device; every pointer is one of the device. Rows are `stride` elements apart. All sums
// are in an order that depends on the shapes alone: the same bits every time.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/device.h"
#include "cuda/fault.h"

namespace awq::cuda {

struct DeviceMatrix {
  float* data = nullptr;
  std::int64_t stride = 0;  // elements
  int rows = 0;
  int columns = 0;

  DeviceMatrix Rows(int first, int count) const {
    return {data + first * stride, stride, count, columns};
  }
  DeviceMatrix Columns(int first, int count) const { return {data + first, stride, rows, count}; }
};

// to = or += factor * a b, with either as it is or transposed; fp32 products and sums.
struct ProductTask {
  DeviceMatrix a;
  bool a_transposed = false;
  DeviceMatrix b;
  bool b_transposed = false;
  DeviceMatrix to;
  bool accumulate = false;
  float factor = 1;
  bool lower_only = false;  // what is above the diagonal may stay as it is
};
Fault Multiply(const ProductTask& task, StreamHandle stream);

// to[r][i] = from[r][order[i]]; the other way round where `back`.
Fault PermuteColumns(const DeviceMatrix& from, const std::uint32_t* order, bool back,
                     const DeviceMatrix& to, StreamHandle stream);
// to = a x + b y; `to` may be x or y. y.data == null: nothing is added.
Fault Combine(float a, const DeviceMatrix& x, float b, const DeviceMatrix& y,
              const DeviceMatrix& to, StreamHandle stream);

// *sum = sum_ij x_ij y_ij, by fp32 within a row and fp64 beyond. parts: scratch, [x.rows].
Fault SumProducts(const DeviceMatrix& x, const DeviceMatrix& y, double* parts, double* sum,
                  StreamHandle stream);
// *sum = the sum of `count` numbers.
Fault Sum(const double* values, int count, double* sum, StreamHandle stream);

// Columns that are factored at once.
inline constexpr int kFactorBlock = 128;
inline int FactorBlocks(int n) { return (n + kFactorBlock - 1) / kFactorBlock; }

// P (gram + diag(added)) P^T = L L^T, right-looking, blocks of kFactorBlock columns: diagonal
// blocks in fp64, all else products.
struct FactorTask {
  const float* gram = nullptr;           // [n, n], symmetric
  const std::uint32_t* order = nullptr;  // [n], the channel at each place
  const float* added = nullptr;          // [n], by channel
  int n = 0;
  float* lower = nullptr;     // [n, n], zeros above the diagonal
  float* inverses = nullptr;  // [FactorBlocks(n), kFactorBlock, kFactorBlock], of diagonal blocks
  float* panel = nullptr;     // scratch, [n, kFactorBlock]
  int* failed = nullptr;      // not 0: a pivot was not positive
};
Fault FactorGram(const FactorTask& task, StreamHandle stream);

// rows [m, n], in the order of places, become rows (L L^T)^-1.
struct SolveTask {
  const float* lower = nullptr;  // as FactorGram leaves it
  const float* inverses = nullptr;
  int n = 0;
  DeviceMatrix rows;
  float* panel = nullptr;  // scratch, [m, kFactorBlock]
};
Fault SolveRows(const SolveTask& task, StreamHandle stream);

}  // namespace awq::cuda
