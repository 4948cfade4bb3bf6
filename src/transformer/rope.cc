#include "transformer/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace awq::transformer {
namespace {

// Llama 3.1: wavelengths longer than the original context are stretched by `factor`, short ones
// kept, those between interpolated (as transformers' "llama3" rope_type).
double Llama3Frequency(const model::RopeScaling& scaling, double frequency) {
  const auto context = static_cast<double>(scaling.original_max_position_embeddings);
  const double wavelength = 2 * std::numbers::pi / frequency;
  if (wavelength > context / scaling.low_freq_factor) return frequency / scaling.factor;
  if (wavelength < context / scaling.high_freq_factor) return frequency;
  const double smooth = (context / wavelength - scaling.low_freq_factor) /
                        (scaling.high_freq_factor - scaling.low_freq_factor);
  return (1 - smooth) * frequency / scaling.factor + smooth * frequency;
}

double Frequency(const model::ModelConfig& config, std::size_t pair) {
  const double exponent = 2 * static_cast<double>(pair) / static_cast<double>(config.head_dim);
  const double frequency = std::pow(config.rope_theta, -exponent);
  switch (config.rope_scaling.kind) {
    case model::RopeScaling::Kind::kLinear:
      return frequency / config.rope_scaling.factor;
    case model::RopeScaling::Kind::kLlama3:
      return Llama3Frequency(config.rope_scaling, frequency);
    case model::RopeScaling::Kind::kNone:
      break;
  }
  return frequency;
}

}  // namespace

RopeTable::RopeTable(const model::ModelConfig& config, std::size_t positions)
    : cosines_(positions, config.head_dim / 2), sines_(positions, config.head_dim / 2) {
  for (std::size_t pair = 0; pair < cosines_.cols(); ++pair) {
    const double frequency = Frequency(config, pair);
    for (std::size_t position = 0; position < positions; ++position) {
      const double angle = static_cast<double>(position) * frequency;
      cosines_(position, pair) = static_cast<float>(std::cos(angle));
      sines_(position, pair) = static_cast<float>(std::sin(angle));
    }
  }
}

}  // namespace awq::transformer
