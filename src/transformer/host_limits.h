// What a CPU reaches: reading memory, and products of oneDNN.
#pragma once

#include <optional>

#include "base/threads.h"
#include "kernels/linear.h"
#include "math/machine.h"
#include "transformer/limits.h"

namespace awq::transformer {

// What is measured takes memory when it first is.
class HostLimits final : public Limits {
 public:
  // Of products in the arithmetic of linears.
  HostLimits(ThreadPool& pool, kernels::Precision precision, kernels::Packed packed,
             const math::ProductProbe::Shape& shape)
      : pool_(pool),
        type_(packed == kernels::Packed::kInt8         ? math::Product::kInt8
              : precision == kernels::Precision::kBF16 ? math::Product::kBF16
                                                       : math::Product::kF32),
        shape_(shape) {}

  double BytesPerSecond(double seconds) override {
    if (!reading_) reading_.emplace();
    return reading_->BytesPerSecond(pool_, seconds);
  }
  double OperationsPerSecond(double seconds) override {
    if (!product_) product_.emplace(type_, shape_);
    return product_->OperationsPerSecond(pool_.size(), seconds);
  }

 private:
  ThreadPool& pool_;
  math::Product type_;
  math::ProductProbe::Shape shape_;
  std::optional<math::ReadProbe> reading_;
  std::optional<math::ProductProbe> product_;
};

}  // namespace awq::transformer
