#include "math/machine.h"

#include <gtest/gtest.h>

#include "math/matmul.h"

namespace awq::math {
namespace {

TEST(Machine, ReadsAndMultiplies) {
  ThreadPool pool(2);
  ReadProbe reading(std::size_t{4} << 20);
  // No memory gives, and no core computes, more than these; and none so little.
  const double bytes = reading.BytesPerSecond(pool, 0.01);
  EXPECT_GT(bytes, 1e7);
  EXPECT_LT(bytes, 1e13);
  for (const Product type : {Product::kF32, Product::kBF16, Product::kInt8}) {
    if (type == Product::kBF16 && !HasFastBF16()) continue;
    ProductProbe product(type, {3, 32, 16});
    for (const std::size_t threads : {1U, 2U}) {
      EXPECT_GT(product.OperationsPerSecond(threads, 0.001), 0);
    }
  }
}

}  // namespace
}  // namespace awq::math
