// Compiled once per instruction set: no header with inline code may be included here.
#include "math/vector_loops.h"

namespace awq::math::AWQ_ISA {
namespace {

constexpr std::size_t kLanes = 16;

float FromBits(std::uint32_t bits) { return __builtin_bit_cast(float, bits); }
std::uint32_t ToBits(float value) { return __builtin_bit_cast(std::uint32_t, value); }
float FromBF16(std::uint16_t bits) { return FromBits(static_cast<std::uint32_t>(bits) << 16); }

// Pairwise over 16 lanes: the same order whatever the register width.
float SumLanes(float* lanes) {
  for (std::size_t step = kLanes / 2; step > 0; step /= 2) {
    for (std::size_t i = 0; i < step; ++i) lanes[i] += lanes[i + step];
  }
  return lanes[0];
}

template <class Load>
float DotWith(std::size_t n, Load product) {
  float lanes[kLanes] = {};
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (std::size_t l = 0; l < kLanes; ++l) lanes[l] += product(i + l);
  }
  for (std::size_t l = 0; i + l < n; ++l) lanes[l] += product(i + l);
  return SumLanes(lanes);
}

float Dot(const float* a, const float* b, std::size_t n) {
  return DotWith(n, [=](std::size_t i) { return a[i] * b[i]; });
}
float DotBF16(const std::uint16_t* a, const std::uint16_t* b, std::size_t n) {
  return DotWith(n, [=](std::size_t i) { return FromBF16(a[i]) * FromBF16(b[i]); });
}

void BF16ToFloat(const std::uint16_t* from, float* to, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) to[i] = FromBF16(from[i]);
}

// The branch-free forms of ToFloat(F16), ToBF16 and ToF16 in tensor/dtype.cc; a test compares all
// inputs.
void F16ToFloat(const std::uint16_t* from, float* to, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    const std::uint32_t sign = static_cast<std::uint32_t>(from[i] & 0x8000U) << 16;
    const std::uint32_t magnitude = from[i] & 0x7fffU;
    const std::uint32_t finite = ToBits(FromBits(magnitude << 13) * 0x1p112F);
    const std::uint32_t special = 0x7f800000U | ((magnitude & 0x3ffU) << 13);
    to[i] = FromBits(sign | (magnitude >= 0x7c00U ? special : finite));
  }
}

void FloatToBF16(const float* from, std::uint16_t* to, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    const std::uint32_t bits = ToBits(from[i]);
    const std::uint32_t rounded = (bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16;
    const std::uint32_t nan = (bits >> 16) | 0x40U;
    to[i] = static_cast<std::uint16_t>((bits & 0x7fffffffU) > 0x7f800000U ? nan : rounded);
  }
}

void FloatToF16(const float* from, std::uint16_t* to, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    const std::uint32_t bits = ToBits(from[i]);
    const std::uint32_t sign = (bits >> 16) & 0x8000U;
    const std::uint32_t magnitude = bits & 0x7fffffffU;
    const std::uint32_t normal = (magnitude + 0xc8000fffU + ((magnitude >> 13) & 1U)) >> 13;
    const std::uint32_t subnormal = ToBits(FromBits(magnitude) + 0.5F) - ToBits(0.5F);
    const std::uint32_t finite = magnitude < 0x38800000U ? subnormal : normal;
    const std::uint32_t large = magnitude > 0x7f800000U ? 0x7e00U : 0x7c00U;
    to[i] = static_cast<std::uint16_t>(sign | (magnitude >= 0x477ff000U ? large : finite));
  }
}

void Add(const float* from, float* to, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) to[i] += from[i];
}
void ScaleMul(const float* x, const float* weight, float scale, float* out, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) out[i] = x[i] * scale * weight[i];
}
void Multiply(float* x, float factor, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) x[i] *= factor;
}

// exp(x) = 2^n exp(r), |r| <= ln 2 / 2, exp(r) by its Taylor polynomial of degree 7: the first term
// left out is below 2^-27 of the result. Below -87 the result is 0, above 88 infinity.
float Exp(float x) {
  constexpr float kShift = 0x1.8p23F;  // adding it rounds to an integer
  const float clamped = x < -87.0F ? -87.0F : (x > 88.0F ? 88.0F : x);
  const float shifted = clamped * 1.44269504F + kShift;
  const float n = shifted - kShift;
  const float r = (clamped - n * 0.693359375F) - n * -2.12194440e-4F;
  float p = 1.0F / 5040;
  p = p * r + 1.0F / 720;
  p = p * r + 1.0F / 120;
  p = p * r + 1.0F / 24;
  p = p * r + 1.0F / 6;
  p = p * r + 0.5F;
  p = p * r + 1.0F;
  p = p * r + 1.0F;
  const float power = FromBits((ToBits(shifted) + 127U) << 23);
  const float value = p * power;
  const float high = x > 88.0F ? FromBits(0x7f800000U) : value;
  return x < -87.0F ? 0.0F : (x == x ? high : x);
}

void SiluMul(const float* gate, const float* up, float* out, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) out[i] = gate[i] / (1.0F + Exp(-gate[i])) * up[i];
}

float Max(const float* x, std::size_t n) {
  float lanes[kLanes];
  for (float& lane : lanes) lane = x[0];
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (std::size_t l = 0; l < kLanes; ++l) lanes[l] = x[i + l] > lanes[l] ? x[i + l] : lanes[l];
  }
  for (; i < n; ++i) lanes[0] = x[i] > lanes[0] ? x[i] : lanes[0];
  float max = lanes[0];
  for (float lane : lanes) max = lane > max ? lane : max;
  return max;
}

float ExpSum(const float* x, float scale, float max, float* out, std::size_t n) {
  float lanes[kLanes] = {};
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (std::size_t l = 0; l < kLanes; ++l) {
      const float e = Exp(scale * (x[i + l] - max));
      out[i + l] = e;
      lanes[l] += e;
    }
  }
  for (std::size_t l = 0; i + l < n; ++l) {
    out[i + l] = Exp(scale * (x[i + l] - max));
    lanes[l] += out[i + l];
  }
  return SumLanes(lanes);
}

void Rotate(float* x, const float* cosines, const float* sines, std::size_t half) {
  float* low = x;
  float* high = x + half;
  for (std::size_t i = 0; i < half; ++i) {
    const float a = low[i];
    const float b = high[i];
    low[i] = a * cosines[i] - b * sines[i];
    high[i] = b * cosines[i] + a * sines[i];
  }
}

}  // namespace

extern const VectorLoops kVectorLoops = {
    .dot = Dot,
    .dot_bf16 = DotBF16,
    .bf16_to_float = BF16ToFloat,
    .f16_to_float = F16ToFloat,
    .float_to_bf16 = FloatToBF16,
    .float_to_f16 = FloatToF16,
    .add = Add,
    .scale_mul = ScaleMul,
    .silu_mul = SiluMul,
    .max = Max,
    .exp_sum = ExpSum,
    .multiply = Multiply,
    .rotate = Rotate,
};

}  // namespace awq::math::AWQ_ISA
