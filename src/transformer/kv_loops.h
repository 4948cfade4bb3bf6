// The table of loops over cached rows that one instruction set provides. Plain pointers only: see
// awq_isa_objects.
#pragma once

#include <cstddef>
#include <cstdint>

namespace awq::transformer {

enum class KvElement : unsigned char { kF32, kBF16, kF16, kInt8 };

// The keys, or the values, of one key head for consecutive tokens, one row after another.
struct KvRows {
  const void* elements = nullptr;  // [tokens, head_dim]
  const float* scales = nullptr;   // [tokens], of kInt8: a row is its codes times its scale
  std::size_t head_dim = 0;
  KvElement element = KvElement::kF32;
};

struct KvLoops {
  // codes_i = round(x_i / scale) to even, scale = max |x| / 127, which it returns: 0 where all is
  // (or below 1e-35), NaN where something is not finite.
  float (*round_to_int8)(const float* x, std::size_t n, std::int8_t* codes);
  // to [tokens, head_dim]; of kInt8 the codes, without their scales. As bf16: rounded to nearest,
  // which codes fit into.
  void (*read)(const KvRows& rows, std::size_t tokens, float* to);
  void (*read_bf16)(const KvRows& rows, std::size_t tokens, std::uint16_t* to);
  // scores(h, t) = sum_i queries(h, i) keys(t, i), for queries [heads, head_dim]
  void (*score)(const KvRows& keys, std::size_t tokens, const float* queries, std::size_t heads,
                float* scores, std::size_t stride);
  // out(h, i) += sum_t weights(h, t) values(t, i), out [heads, head_dim]
  void (*mix)(const KvRows& values, std::size_t tokens, const float* weights, std::size_t stride,
              std::size_t heads, float* out);
};

namespace baseline {
extern const KvLoops kKvLoops;
}
namespace avx2 {
extern const KvLoops kKvLoops;
}
namespace avx512 {
extern const KvLoops kKvLoops;
}

}  // namespace awq::transformer
