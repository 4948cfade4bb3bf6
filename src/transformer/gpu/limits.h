// What a GPU reaches: copying its memory, and dense products of cuBLASLt.
#pragma once

#include <cstddef>
#include <functional>

#include "transformer/gpu/context.h"
#include "transformer/limits.h"

namespace awq::transformer::gpu {

// What is measured takes memory while it is. The context must outlive it, and has done all it was
// asked to. Faults are not the context's: the figure is 0 then.
class DeviceLimits final : public Limits {
 public:
  struct Shape {
    std::size_t tokens = 0;
    std::size_t outputs = 0;
    std::size_t inputs = 0;
  };
  DeviceLimits(Context& context, const Shape& shape, cuda::Float type)
      : context_(context), shape_(shape), type_(type) {}

  // Read and written.
  double BytesPerSecond(double seconds) override;
  double OperationsPerSecond(double seconds) override;

 private:
  // How often a second.
  double Rate(double seconds, const std::function<cuda::Fault()>& launch) const;

  Context& context_;
  Shape shape_;
  cuda::Float type_;
};

}  // namespace awq::transformer::gpu
