// A model for tests of scoring, without weights.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "eval/score.h"
#include "tensor/tensor.h"

namespace awq::eval {

// A model whose hidden state is the token's number, and whose logits are a fixed function of it.
class FakeModel {
 public:
  FakeModel(std::size_t tokens, std::size_t vocab, std::uint32_t seed)
      : vocab_(vocab), seed_(seed), hidden_(tokens, 1) {
    for (std::size_t t = 0; t < tokens; ++t) hidden_(t, 0) = static_cast<float>(t);
  }

  float Logit(std::size_t token, std::size_t v) const {
    if (token == damaged) return std::numeric_limits<float>::quiet_NaN();
    const auto mixed = static_cast<std::uint32_t>(token * vocab_ + v + seed_) * 2654435761U;
    return static_cast<float>(mixed >> 16) / 16384.0F;
  }

  // Tokens are counted from `first`.
  ScoredModel Scored(std::size_t first = 0) {
    return {vocab_,
            [this, first](std::size_t begin, std::size_t count) {
              return std::as_const(hidden_).view().Rows(first + begin, count);
            },
            [this](MatrixView<const float> hidden, MatrixView<float> logits) -> Status {
              largest_tile = std::max(largest_tile, logits.rows);
              rows += logits.rows;
              for (std::size_t r = 0; r < logits.rows; ++r) {
                const auto token = static_cast<std::size_t>(hidden(r, 0));
                for (std::size_t v = 0; v < vocab_; ++v) logits(r, v) = Logit(token, v);
              }
              return {};
            }};
  }

  std::vector<double> Probabilities(std::size_t token) const {
    std::vector<double> p(vocab_);
    double sum = 0;
    for (std::size_t v = 0; v < vocab_; ++v) {
      sum += p[v] = std::exp(static_cast<double>(Logit(token, v)));
    }
    for (double& x : p) x /= sum;
    return p;
  }

  std::size_t damaged = SIZE_MAX;
  std::size_t largest_tile = 0;
  std::size_t rows = 0;

 private:
  std::size_t vocab_;
  std::uint32_t seed_;
  Matrix<float> hidden_;
};

}  // namespace awq::eval
