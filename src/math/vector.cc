#include "math/vector.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/isa.h"
#include "math/vector_loops.h"

namespace awq::math {
namespace {

const VectorLoops& Loops() {
  static const VectorLoops& loops = AWQ_TABLE_FOR(ActiveIsa(), kVectorLoops);
  return loops;
}

// 16-bit floats are structs around their bits.
const std::uint16_t* Bits(const BF16* values) { return &values->bits; }
std::uint16_t* Bits(BF16* values) { return &values->bits; }
std::uint16_t* Bits(F16* values) { return &values->bits; }

// The source's bytes may lie at any address; this many elements at a time are moved to one that the
// loops can read.
constexpr std::size_t kChunk = 1024;

template <class T, class Use>
void ForAlignedChunks(std::span<const std::byte> bytes, Use use) {
  T chunk[kChunk];
  const std::size_t count = bytes.size() / sizeof(T);
  for (std::size_t first = 0; first < count; first += kChunk) {
    const std::size_t n = std::min(kChunk, count - first);
    std::memcpy(chunk, bytes.data() + first * sizeof(T), n * sizeof(T));
    use(static_cast<const T*>(chunk), first, n);
  }
}

}  // namespace

float Dot(std::span<const float> a, std::span<const float> b) {
  return Loops().dot(a.data(), b.data(), a.size());
}
float Dot(std::span<const BF16> a, std::span<const BF16> b) {
  return Loops().dot_bf16(Bits(a.data()), Bits(b.data()), a.size());
}

void Convert(const TensorView& from, std::span<float> to) {
  AWQ_CHECK_EQ(from.elements(), to.size());
  const auto halves = [&](auto loop) {
    ForAlignedChunks<std::uint16_t>(
        from.bytes, [&](const std::uint16_t* chunk, std::size_t first, std::size_t n) {
          loop(chunk, to.data() + first, n);
        });
  };
  if (from.dtype == DType::kF32) {
    std::memcpy(to.data(), from.bytes.data(), from.bytes.size());
  } else if (from.dtype == DType::kBF16) {
    halves(Loops().bf16_to_float);
  } else {
    AWQ_CHECK(from.dtype == DType::kF16);
    halves(Loops().f16_to_float);
  }
}

void Convert(const TensorView& from, std::span<BF16> to) {
  AWQ_CHECK_EQ(from.elements(), to.size());
  if (from.dtype == DType::kBF16) {
    std::memcpy(to.data(), from.bytes.data(), from.bytes.size());
    return;
  }
  float chunk[kChunk];
  const std::size_t element_bytes = ElementBytes(from.dtype);
  for (std::size_t first = 0; first < to.size(); first += kChunk) {
    const std::size_t n = std::min(kChunk, to.size() - first);
    TensorView part = from;
    part.bytes = from.bytes.subspan(first * element_bytes, n * element_bytes);
    Convert(part, std::span(chunk, n));
    Convert(std::span<const float>(chunk, n), to.subspan(first, n));
  }
}

void Convert(std::span<const float> from, std::span<BF16> to) {
  Loops().float_to_bf16(from.data(), Bits(to.data()), from.size());
}
void Convert(std::span<const float> from, std::span<F16> to) {
  Loops().float_to_f16(from.data(), Bits(to.data()), from.size());
}
void Convert(std::span<const BF16> from, std::span<float> to) {
  Loops().bf16_to_float(Bits(from.data()), to.data(), from.size());
}

void Add(std::span<const float> from, std::span<float> to) {
  Loops().add(from.data(), to.data(), from.size());
}

void RmsNorm(std::span<const float> x, std::span<const float> weight, float eps,
             std::span<float> out) {
  const float mean = Dot(x, x) / static_cast<float>(x.size());
  Loops().scale_mul(x.data(), weight.data(), 1.0F / std::sqrt(mean + eps), out.data(), x.size());
}

void SiluMul(std::span<const float> gate, std::span<const float> up, std::span<float> out) {
  Loops().silu_mul(gate.data(), up.data(), out.data(), gate.size());
}

void Multiply(std::span<float> x, float factor) { Loops().multiply(x.data(), factor, x.size()); }

void Multiply(std::span<float> x, std::span<const float> factors) {
  Loops().scale_mul(x.data(), factors.data(), 1.0F, x.data(), x.size());
}

float Max(std::span<const float> x) { return Loops().max(x.data(), x.size()); }

float ExpSum(std::span<float> x, float scale, float max) {
  return Loops().exp_sum(x.data(), scale, max, x.data(), x.size());
}

void Softmax(std::span<float> x, float scale) { Multiply(x, 1.0F / ExpSum(x, scale)); }

double LogSumExp(std::span<const float> x) {
  const float max = Loops().max(x.data(), x.size());
  double sum = 0;
  float chunk[kChunk];
  for (std::size_t first = 0; first < x.size(); first += kChunk) {
    const std::size_t n = std::min(kChunk, x.size() - first);
    sum += static_cast<double>(Loops().exp_sum(x.data() + first, 1.0F, max, chunk, n));
  }
  return static_cast<double>(max) + std::log(sum);
}

double KlDivergence(std::span<const float> p_logits, std::span<const float> q_logits) {
  AWQ_CHECK_EQ(p_logits.size(), q_logits.size());
  const float p_max = Loops().max(p_logits.data(), p_logits.size());
  const float q_max = Loops().max(q_logits.data(), q_logits.size());
  double p_sum = 0;
  double q_sum = 0;
  double difference = 0;  // sum of exp(p_logit - p_max) ((p_logit - p_max) - (q_logit - q_max))
  float p[kChunk];
  float q[kChunk];
  for (std::size_t first = 0; first < p_logits.size(); first += kChunk) {
    const std::size_t n = std::min(kChunk, p_logits.size() - first);
    const float* p_part = p_logits.data() + first;
    const float* q_part = q_logits.data() + first;
    p_sum += static_cast<double>(Loops().exp_sum(p_part, 1.0F, p_max, p, n));
    q_sum += static_cast<double>(Loops().exp_sum(q_part, 1.0F, q_max, q, n));
    for (std::size_t i = 0; i < n; ++i) q[i] = (p_part[i] - p_max) - (q_part[i] - q_max);
    difference += static_cast<double>(Loops().dot(p, q, n));
  }
  return difference / p_sum + std::log(q_sum / p_sum);
}

std::size_t ArgMax(std::span<const float> x) {
  const float max = Loops().max(x.data(), x.size());
  const auto found = std::find(x.begin(), x.end(), max);
  return found == x.end() ? 0 : static_cast<std::size_t>(found - x.begin());
}

void Rotate(std::span<float> x, std::span<const float> cosines, std::span<const float> sines) {
  Loops().rotate(x.data(), cosines.data(), sines.data(), cosines.size());
}

}  // namespace awq::math
