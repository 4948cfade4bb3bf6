#include "pipeline/final_norm.h"

#include <algorithm>
#include <vector>

#include "math/vector.h"

namespace awq::pipeline {
namespace {

constexpr std::size_t kTokensAtOnce = 256;
constexpr std::size_t kChannelsPerTask = 64;

}  // namespace

void RefitNorm(ThreadPool& pool, const model::ModelConfig& config, std::size_t tokens,
               const HiddenStates& original, const HiddenStates& quantized,
               std::span<float> weight) {
  const std::size_t width = weight.size();
  const auto eps = static_cast<float>(config.rms_norm_eps);
  const std::vector<float> ones(width, 1);
  std::vector<double> products(width, 0);
  std::vector<double> squares(width, 0);
  Matrix<float> x(std::min(tokens, kTokensAtOnce), width);
  Matrix<float> q(x.rows(), width);
  for (std::size_t first = 0; first < tokens; first += kTokensAtOnce) {
    const std::size_t count = std::min(kTokensAtOnce, tokens - first);
    original.Load(pool, first, x.view().Rows(0, count));
    quantized.Load(pool, first, q.view().Rows(0, count));
    pool.ParallelFor(count, [&](std::size_t t, std::size_t) {
      for (Matrix<float>* each : {&x, &q}) {
        math::RmsNorm({each->row(t), width}, ones, eps, {each->row(t), width});
      }
    });
    pool.ParallelFor(CeilDiv(width, kChannelsPerTask), [&](std::size_t task, std::size_t) {
      const std::size_t last = std::min(width, (task + 1) * kChannelsPerTask);
      for (std::size_t t = 0; t < count; ++t) {
        for (std::size_t c = task * kChannelsPerTask; c < last; ++c) {
          products[c] += static_cast<double>(x(t, c)) * static_cast<double>(q(t, c));
          squares[c] += static_cast<double>(q(t, c)) * static_cast<double>(q(t, c));
        }
      }
    });
  }
  for (std::size_t c = 0; c < width; ++c) {
    if (squares[c] > 0) weight[c] *= static_cast<float>(products[c] / squares[c]);
  }
}

}  // namespace awq::pipeline
