#include "math/machine.h"

#include <gtest/gtest.h>

#include "math/matmul.h"

namespace awq::math {
namespace {

TEST(Machine, ReadsAndMultiplies) {
  ThreadPool pool(2);
  ReadProbe reading(std::size_t{4} << 20);
  EXPECT_GT(reading.BytesPerSecond(pool, 0.001), 0);
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
