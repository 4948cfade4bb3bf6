// The table of loops over cached rows of 16 or 8 bits that one instruction set provides. Plain
// pointers only: see awq_isa_objects.
#pragma once

#include <cstddef>
#include <cstdint>

namespace awq::transformer {

// The keys, or the values, of one key head for consecutive tokens, one row after another.
struct NarrowRows {
  const void* elements = nullptr;  // [tokens, head_dim], fp16 or codes
  const float* scales = nullptr;   // [tokens], of codes; null: fp16
  std::size_t head_dim = 0;
};

struct NarrowLoops {
  // codes_i = round(x_i / scale) to even, scale = max |x| / 127, which it returns: 0 where all is
  // (or below 1e-35), NaN where something is not finite.
  float (*round_to_int8)(const float* x, std::size_t n, std::int8_t* codes);
  // to [tokens, head_dim]
  void (*read)(const NarrowRows& rows, std::size_t tokens, float* to);
  // scores(h, t) = sum_i queries(h, i) keys(t, i), for queries [heads, head_dim]
  void (*score)(const NarrowRows& keys, std::size_t tokens, const float* queries, std::size_t heads,
                float* scores, std::size_t stride);
  // out(h, i) = sum_t weights(h, t) values(t, i), out [heads, head_dim]
  void (*mix)(const NarrowRows& values, std::size_t tokens, const float* weights,
              std::size_t stride, std::size_t heads, float* out);
};

namespace baseline {
extern const NarrowLoops kNarrowLoops;
}
namespace avx2 {
extern const NarrowLoops kNarrowLoops;
}
namespace avx512 {
extern const NarrowLoops kNarrowLoops;
}

}  // namespace awq::transformer
