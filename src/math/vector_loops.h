// The table of loops that one instruction set provides. Plain pointers only: see awq_isa_objects.
#pragma once

#include <cstddef>
#include <cstdint>

namespace awq::math {

struct VectorLoops {
  float (*dot)(const float* a, const float* b, std::size_t n);
  float (*dot_bf16)(const std::uint16_t* a, const std::uint16_t* b, std::size_t n);
  void (*bf16_to_float)(const std::uint16_t* from, float* to, std::size_t n);
  void (*f16_to_float)(const std::uint16_t* from, float* to, std::size_t n);
  void (*float_to_bf16)(const float* from, std::uint16_t* to, std::size_t n);
  void (*float_to_f16)(const float* from, std::uint16_t* to, std::size_t n);
  void (*add)(const float* from, float* to, std::size_t n);
  void (*scale_mul)(const float* x, const float* weight, float scale, float* out, std::size_t n);
  void (*silu_mul)(const float* gate, const float* up, float* out, std::size_t n);
  float (*max)(const float* x, std::size_t n);
  // out_i = exp(scale * (x_i - max)); returns the sum. out may be x.
  float (*exp_sum)(const float* x, float scale, float max, float* out, std::size_t n);
  void (*multiply)(float* x, float factor, std::size_t n);
  void (*rotate)(float* x, const float* cosines, const float* sines, std::size_t half);
};

namespace baseline {
extern const VectorLoops kVectorLoops;
}
namespace avx2 {
extern const VectorLoops kVectorLoops;
}
namespace avx512 {
extern const VectorLoops kVectorLoops;
}

}  // namespace awq::math
