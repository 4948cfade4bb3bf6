// Rotary position embedding (Su et al. 2021), with the linear and Llama-3 rescalings.
#pragma once

#include <cstddef>
#include <span>

#include "model/config.h"
#include "tensor/tensor.h"

namespace awq::transformer {

// Angles of every position below `positions`, for pairs (x_i, x_{i + head_dim/2}).
class RopeTable {
 public:
  RopeTable(const model::ModelConfig& config, std::size_t positions);

  std::size_t positions() const { return cosines_.rows(); }
  // Of all positions, one after another.
  std::span<const float> cosines() const { return cosines_.span(); }
  std::span<const float> sines() const { return sines_.span(); }
  std::span<const float> cosines(std::size_t position) const {
    return {cosines_.row(position), cosines_.cols()};
  }
  std::span<const float> sines(std::size_t position) const {
    return {sines_.row(position), sines_.cols()};
  }

 private:
  Matrix<float> cosines_;  // [positions, head_dim / 2]
  Matrix<float> sines_;
};

}  // namespace awq::transformer
