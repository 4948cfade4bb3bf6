#include "transformer/rope.h"

#include <cmath>

#include "model/rope_scaling.h"

namespace awq::transformer {
namespace {

double Frequency(const model::ModelConfig& config, std::size_t pair) {
  const double exponent = 2 * static_cast<double>(pair) / static_cast<double>(config.head_dim);
  return model::ScaledFrequency(config.rope_scaling, std::pow(config.rope_theta, -exponent));
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
