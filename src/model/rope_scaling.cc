#include "model/rope_scaling.h"

#include <numbers>

namespace awq::model {
namespace {

// Llama 3.1: wavelengths longer than the original context are stretched by `factor`, short ones
// kept, those between interpolated (as transformers' "llama3" rope_type).
double Llama3Frequency(const RopeScaling& scaling, double frequency) {
  const auto context = static_cast<double>(scaling.original_max_position_embeddings);
  const double wavelength = 2 * std::numbers::pi / frequency;
  if (wavelength > context / scaling.low_freq_factor) return frequency / scaling.factor;
  if (wavelength < context / scaling.high_freq_factor) return frequency;
  const double smooth = (context / wavelength - scaling.low_freq_factor) /
                        (scaling.high_freq_factor - scaling.low_freq_factor);
  return (1 - smooth) * frequency / scaling.factor + smooth * frequency;
}

}  // namespace

double ScaledFrequency(const RopeScaling& scaling, double frequency) {
  switch (scaling.kind) {
    case RopeScaling::Kind::kLinear:
      return frequency / scaling.factor;
    case RopeScaling::Kind::kLlama3:
      return Llama3Frequency(scaling, frequency);
    case RopeScaling::Kind::kNone:
      break;
  }
  return frequency;
}

}  // namespace awq::model
