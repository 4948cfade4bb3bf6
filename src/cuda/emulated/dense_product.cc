#include "cuda/dense_product.h"

#include <cstring>
#include <vector>

#include "cuda/emulated_device.h"
#include "cuda/numbers.h"

namespace awq::cuda {
namespace {

std::vector<float> Widen(const void* from, Float type, std::size_t count) {
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) {
    std::uint16_t bits = 0;
    std::memcpy(&bits, static_cast<const unsigned char*>(from) + 2 * i, 2);
    values[i] = type == Float::kHalf ? ToFloat(Half{bits}) : ToFloat(Bfloat16{bits});
  }
  return values;
}

void Write(void* y, Float type, std::size_t at, float value) {
  if (type == Float::kSingle) {
    static_cast<float*>(y)[at] = value;
  } else {
    static_cast<std::uint16_t*>(y)[at] =
        type == Float::kHalf ? FromFloat<Half>(value).bits : FromFloat<Bfloat16>(value).bits;
  }
}

void Compute(const DenseCall& call) {
  const auto outputs = static_cast<std::size_t>(call.outputs);
  const auto inputs = static_cast<std::size_t>(call.inputs);
  const auto tokens = static_cast<std::size_t>(call.tokens);
  const std::vector<float> w = Widen(call.w, call.x_type, outputs * inputs);
  const std::vector<float> x = Widen(call.x, call.x_type, tokens * inputs);
  for (std::size_t token = 0; token < tokens; ++token) {
    for (std::size_t output = 0; output < outputs; ++output) {
      double sum = 0;
      for (std::size_t k = 0; k < inputs; ++k) {
        sum += double{w[output * inputs + k]} * double{x[token * inputs + k]};
      }
      Write(call.y, call.y_type, token * static_cast<std::size_t>(call.y_stride) + output,
            static_cast<float>(sum));
    }
  }
  if (call.scratch_bytes > 0) std::memset(call.scratch, 0xff, call.scratch_bytes);
}

}  // namespace

struct DenseProducts::State {};

DenseProducts::DenseProducts() = default;
DenseProducts::DenseProducts(DenseProducts&&) noexcept = default;
DenseProducts& DenseProducts::operator=(DenseProducts&&) noexcept = default;
DenseProducts::~DenseProducts() = default;

Fault DenseProducts::Open() {
  if (!EmulatedMachineNow().has_dense_library) {
    return MakeFault(FaultKind::kUnsupported, "no cuBLASLt: the emulated machine has none");
  }
  state_ = std::make_unique<State>();
  return {};
}

Fault DenseProducts::Multiply(const DenseCall& call, StreamHandle stream) {
  return RunInStream(stream, [call] {
    Compute(call);
    return Fault();
  });
}

}  // namespace awq::cuda
