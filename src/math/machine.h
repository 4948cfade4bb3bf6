// What this machine reaches at best, measured now: shares of it say how good a program is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/threads.h"
#include "tensor/tensor.h"

namespace awq::math {

// Reading memory, all threads of a pool at once, each its own part.
class ReadProbe {
 public:
  // Takes that much memory; it should be beyond all caches.
  explicit ReadProbe(std::size_t bytes = std::size_t{256} << 20);
  // Over whole passes that take at least so long together.
  double BytesPerSecond(ThreadPool& pool, double seconds);

 private:
  Buffer<std::uint64_t> words_;
  std::uint64_t sum_ = 0;  // of what was read, so that it is read
};

enum class Product : std::uint8_t { kF32, kBF16, kInt8 };

// One product [m, k] x [k, n] by oneDNN with threads of its own, the right side laid out once as
// oneDNN likes it best.
class ProductProbe {
 public:
  struct Shape {
    std::size_t m = 0;
    std::size_t n = 0;
    std::size_t k = 0;
  };
  ProductProbe(Product type, const Shape& shape);
  ~ProductProbe();
  // Multiplications and additions, 2 m n k a product, over products that take at least so long.
  double OperationsPerSecond(std::size_t threads, double seconds);

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace awq::math
