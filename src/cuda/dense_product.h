// Dense products by cuBLASLt, which is opened when it is first asked for: without it there are
// none, and the program still starts.
#pragma once

#include <cstddef>
#include <memory>

#include "cuda/linear.h"

namespace awq::cuda {

struct DenseCall {
  const void* w = nullptr;  // [outputs][inputs], of x's type
  const void* x = nullptr;  // [tokens][inputs]
  void* y = nullptr;        // [tokens][y_stride]
  int outputs = 0, inputs = 0, tokens = 0;
  int y_stride = 0;
  Float x_type = Float::kHalf, y_type = Float::kHalf;
  void* scratch = nullptr;
  std::size_t scratch_bytes = 0;
};

// For the device that was current when it was opened; used by one thread at a time.
class DenseProducts {
 public:
  DenseProducts();
  DenseProducts(DenseProducts&&) noexcept;
  DenseProducts& operator=(DenseProducts&&) noexcept;
  ~DenseProducts();

  // kUnsupported where the library is not found; the message says which names were tried.
  Fault Open();
  bool is_open() const { return state_ != nullptr; }
  // y = x w^T, with fp32 sums.
  Fault Multiply(const DenseCall& call, StreamHandle stream);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace awq::cuda
