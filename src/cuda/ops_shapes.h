// What shapes launches take, and which instance of a kernel is for which elements.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "cuda/fault.h"
#include "cuda/numbers.h"
#include "cuda/ops.h"

namespace awq::cuda {

constexpr unsigned CeilDiv(unsigned n, unsigned by) { return (n + by - 1) / by; }

inline Fault Unsupported(const std::string& what) {
  return MakeFault(FaultKind::kUnsupported, what + ": the GPU's kernels are not made for it");
}

inline Fault CheckWidth(const char* what, int width) {
  if (width > 0 && width % 8 == 0) return {};
  return Unsupported(std::string(what) + " of " + std::to_string(width) +
                     " features, which is no multiple of 8");
}

inline Fault CheckHeads(int heads, const KvPages& cache) {
  const int dim = cache.head_dim;
  if (dim <= 0 || dim % 8 != 0 || dim > 256) {
    return Unsupported("heads of " + std::to_string(dim) +
                       " features, which is no multiple of 8 up to 256");
  }
  if (heads > 0 && cache.kv_heads > 0 && heads % cache.kv_heads == 0) return {};
  return Unsupported(std::to_string(heads) + " query heads for " + std::to_string(cache.kv_heads) +
                     " key heads");
}

// use(T()) with the type that linears read.
template <class Use>
Fault ForHalves(Element type, Use use) {
  if (type == Element::kF16) return use(Half());
  if (type == Element::kBF16) return use(Bfloat16());
  return Unsupported("activations that are neither f16 nor bf16");
}

// use(T()) with the type that keys and values are held in.
template <class Use>
Fault ForCached(Element type, Use use) {
  if (type == Element::kInt8) return use(std::int8_t());
  if (type == Element::kF16) return use(Half());
  if (type == Element::kBF16) return use(Bfloat16());
  return Unsupported("keys and values in fp32");
}

}  // namespace awq::cuda
