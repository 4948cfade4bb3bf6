// Products of fp32 matrices on the ordinary cores: a block makes a tile of 128 x 128, a thread 8 x
// 8 of it. What is next in depth is on its way from memory while a slice is multiplied.
#pragma once

#include "cuda/launch.h"
#include "cuda/matrix.h"
#include "cuda/ops_shapes.h"
#include "cuda/simt.h"
#include "cuda/token_vector.cuh"

namespace awq::cuda {
inline namespace AWQ_CUDA_SIDE {

inline constexpr int kProductTile = 128;
inline constexpr int kProductDepth = 8;  // of a slice
inline constexpr int kProductThreads = 256;
inline constexpr int kProductPitch = kProductTile + 4;  // float4 stay aligned
inline constexpr int kProductSlice = kProductDepth * kProductPitch;
inline constexpr int kProductLoads = kProductTile * kProductDepth / kProductThreads;

// One side of the product: a tile from `first` on along the result, all of the depth. kDeep: it is
// the depth that lies together in memory.
template <bool kDeep>
class ProductSide {
 public:
  __device__ ProductSide(const DeviceMatrix& from, int first, int count, int depth)
      : at_(from.data + (kDeep ? (first + AlongOf(0)) * from.stride + DeepOf(0)
                               : DeepOf(0) * from.stride + first + AlongOf(0))),
        step_(kDeep ? from.stride * (AlongOf(1) - AlongOf(0))
                    : from.stride * (DeepOf(1) - DeepOf(0))),
        next_(kDeep ? kProductDepth : kProductDepth * from.stride),
        along_(count - first - AlongOf(0)),
        deep_(depth - DeepOf(0)) {}

  // The next slice of the depth.
  __device__ __forceinline__ void Load(float (&held)[kProductLoads]) {
    AWQ_UNROLL
    for (int i = 0; i < kProductLoads; ++i) {
      const bool is_there = kDeep ? i * (AlongOf(1) - AlongOf(0)) < along_ && deep_ > 0
                                  : i * (DeepOf(1) - DeepOf(0)) < deep_ && along_ > 0;
      held[i] = is_there ? at_[i * step_] : 0.0F;
    }
    at_ += next_;
    deep_ -= kProductDepth;
  }
  __device__ __forceinline__ void Store(const float (&held)[kProductLoads], float* slice) const {
    AWQ_UNROLL
    for (int i = 0; i < kProductLoads; ++i) {
      slice[DeepOf(i) * kProductPitch + AlongOf(i)] = held[i];
    }
  }

 private:
  // Place i of this thread in a slice: neighbours in memory to neighbouring threads.
  __device__ __forceinline__ static int AlongOf(int i) {
    const int at = i * kProductThreads + ThreadInBlock();
    return kDeep ? at / kProductDepth : at % kProductTile;
  }
  __device__ __forceinline__ static int DeepOf(int i) {
    const int at = i * kProductThreads + ThreadInBlock();
    return kDeep ? at % kProductDepth : at / kProductTile;
  }

  const float* at_;    // place 0 of the slice that comes next
  std::int64_t step_;  // from place to place
  std::int64_t next_;  // from slice to slice
  int along_, deep_;   // what there is from place 0 on
};

// Of a thread's 8 rows or columns: 4 together, and 4 half a tile further.
__device__ __forceinline__ int ProductPlace(int thread, int i) {
  return thread * 4 + i % 4 + i / 4 * (kProductTile / 2);
}

__device__ __forceinline__ void LoadEight(const float* row, int thread, float (&to)[kVector]) {
  AWQ_UNROLL
  for (int half = 0; half < 2; ++half) {
    const float4 four =
        *reinterpret_cast<const float4*>(row + thread * 4 + half * (kProductTile / 2));
    to[half * 4] = four.x;
    to[half * 4 + 1] = four.y;
    to[half * 4 + 2] = four.z;
    to[half * 4 + 3] = four.w;
  }
}

__device__ __forceinline__ void MultiplySlice(const float* a, const float* b,
                                              float (&sums)[kVector][kVector]) {
  AWQ_UNROLL
  for (int k = 0; k < kProductDepth; ++k) {
    float left[kVector], right[kVector];
    LoadEight(a + k * kProductPitch, ThreadInBlock() / 16, left);
    LoadEight(b + k * kProductPitch, ThreadInBlock() % 16, right);
    AWQ_UNROLL
    for (int i = 0; i < kVector; ++i) {
      AWQ_UNROLL
      for (int j = 0; j < kVector; ++j) sums[i][j] += left[i] * right[j];
    }
  }
}

__device__ __forceinline__ void StoreProducts(const ProductTask& task, int row, int column,
                                              const float (&sums)[kVector][kVector]) {
  AWQ_UNROLL
  for (int i = 0; i < kVector; ++i) {
    const int r = row + ProductPlace(ThreadInBlock() / 16, i);
    AWQ_UNROLL
    for (int j = 0; j < kVector; ++j) {
      const int c = column + ProductPlace(ThreadInBlock() % 16, j);
      if (r >= task.to.rows || c >= task.to.columns) continue;
      float& to = task.to.data[r * task.to.stride + c];
      to = (task.accumulate ? to : 0.0F) + task.factor * sums[i][j];
    }
  }
}

// Two blocks to a multiprocessor, where their registers suffice: one multiplies while the other
// waits. Before sm_90 the compiler spills some for it.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
inline constexpr int kProductBlocks = 1;
#else
inline constexpr int kProductBlocks = 2;
#endif

template <bool kDeepA, bool kDeepB>
__global__ void __launch_bounds__(kProductThreads, kProductBlocks)
    ProductKernel(const ProductTask task) {
  const int row = static_cast<int>(blockIdx.y) * kProductTile;
  const int column = static_cast<int>(blockIdx.x) * kProductTile;
  if (task.lower_only && column > row + kProductTile - 1) return;
  const int depth = kDeepA ? task.a.columns : task.a.rows;
  ProductSide<kDeepA> a(task.a, row, task.to.rows, depth);
  ProductSide<kDeepB> b(task.b, column, task.to.columns, depth);
  float* const shared = SharedArray<float>();  // [2][a, b]
  float sums[kVector][kVector] = {};
  float next_a[kProductLoads], next_b[kProductLoads];
  const int slices = (depth + kProductDepth - 1) / kProductDepth;
  a.Load(next_a);
  b.Load(next_b);
  for (int slice = 0; slice < slices; ++slice) {
    float* const here = shared + slice % 2 * 2 * kProductSlice;
    a.Store(next_a, here);
    b.Store(next_b, here + kProductSlice);
    __syncthreads();  // also: the slice before the last is done with
    if (slice + 1 < slices) {
      a.Load(next_a);
      b.Load(next_b);
    }
    MultiplySlice(here, here + kProductSlice, sums);
  }
  StoreProducts(task, row, column, sums);
}

inline Fault CheckProduct(const ProductTask& task) {
  const int rows = task.a_transposed ? task.a.columns : task.a.rows;
  const int depth = task.a_transposed ? task.a.rows : task.a.columns;
  const int b_depth = task.b_transposed ? task.b.columns : task.b.rows;
  const int columns = task.b_transposed ? task.b.rows : task.b.columns;
  if (rows == task.to.rows && columns == task.to.columns && depth == b_depth) return {};
  return Unsupported("a product of shapes that do not fit each other");
}

template <class Launcher>
Fault LaunchProduct(const Launcher& launcher, const ProductTask& task) {
  AWQ_CUDA_TRY(CheckProduct(task));
  if (task.to.rows == 0 || task.to.columns == 0) return {};
  LaunchShape shape;
  shape.blocks.x = CeilDiv(static_cast<unsigned>(task.to.columns), kProductTile);
  shape.blocks.y = CeilDiv(static_cast<unsigned>(task.to.rows), kProductTile);
  shape.threads = kProductThreads;
  shape.shared_bytes = sizeof(float) * 4 * kProductSlice;
  const bool deep_a = !task.a_transposed;
  const bool deep_b = task.b_transposed;
  const auto kernel = deep_a ? (deep_b ? ProductKernel<true, true> : ProductKernel<true, false>)
                             : (deep_b ? ProductKernel<false, true> : ProductKernel<false, false>);
  return launcher(kernel, shape, task);
}

}  // namespace AWQ_CUDA_SIDE
}  // namespace awq::cuda
