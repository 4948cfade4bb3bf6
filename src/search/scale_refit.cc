#include "search/scale_refit.h"

#include <algorithm>

#include "base/check.h"
#include "base/checked.h"
#include "math/matmul.h"
#include "math/vector.h"

namespace awq::search {
namespace {

// Of one task: each reads the whole Gram matrix. Their systems take at most
constexpr std::size_t kMostRows = 64;
constexpr std::size_t kSystemBytes = std::size_t{4} << 20;
constexpr int kMostSweeps = 16;
constexpr float kSmallestHalf = 0x1p-24F;
constexpr float kLargestHalf = 65504.0F;

// s A s^T - 2 b s^T of one row's scales s.
struct System {
  MatrixView<const float> a;  // [groups, groups], v_g M v_h
  std::span<const float> b;   // [groups], v_g M w
};

double LossOf(const System& system, std::span<const float> scales) {
  double loss = 0;
  for (std::size_t g = 0; g < scales.size(); ++g) {
    const double product = math::Dot({system.a.row(g), scales.size()}, scales);
    loss += static_cast<double>(scales[g]) * (product - 2 * static_cast<double>(system.b[g]));
  }
  return loss;
}

void Descend(const System& system, std::span<float> scales) {
  for (int sweep = 0; sweep < kMostSweeps; ++sweep) {
    bool changed = false;
    for (std::size_t g = 0; g < scales.size(); ++g) {
      const float own = system.a(g, g);
      if (!(own > 0)) continue;
      const float rest = system.b[g] - math::Dot({system.a.row(g), scales.size()}, scales);
      const float best =
          RoundToF16(std::clamp(scales[g] + rest / own, kSmallestHalf, kLargestHalf));
      changed |= best != scales[g];
      scales[g] = best;
    }
    if (!changed) return;
  }
}

class Refitter {
 public:
  Refitter(MatrixView<const float> weights, std::span<const float> scale, const RefitMetric& metric,
           quant::QuantizedLinear& linear)
      : weights_(weights),
        scale_(scale),
        metric_(metric),
        linear_(linear),
        size_(weights.cols / linear.groups()) {}

  void Rows(std::size_t first, std::size_t count, std::span<double> losses) const {
    const std::size_t groups = linear_.groups();
    const Matrix<float> shares = Shares(first, count);
    Matrix<float> systems(count * groups, groups);
    Matrix<float> right(count, groups);
    Matrix<float> products(count, weights_.cols);
    for (std::size_t g = 0; g < groups; ++g) {
      Multiply(shares, g, products);
      for (std::size_t r = 0; r < count; ++r) {
        const float* product = products.row(r);
        for (std::size_t h = 0; h < groups; ++h) {
          systems(r * groups + g, h) =
              math::Dot({product + h * size_, size_}, {shares.row(r) + h * size_, size_});
        }
        right(r, g) = math::Dot({product, weights_.cols}, {weights_.row(first + r), weights_.cols});
      }
    }
    for (std::size_t r = 0; r < count; ++r) {
      const System system{systems.view().Rows(r * groups, groups), {right.row(r), groups}};
      const std::span<float> scales(linear_.scales.row(first + r), groups);
      Descend(system, scales);
      losses[r] = LossOf(system, scales);
    }
  }

 private:
  // v of all groups, side by side.
  Matrix<float> Shares(std::size_t first, std::size_t count) const {
    Matrix<float> shares(count, weights_.cols);
    for (std::size_t r = 0; r < count; ++r) {
      for (std::size_t k = 0; k < weights_.cols; ++k) {
        const int steps = linear_.codes(first + r, k) - linear_.zeros(first + r, k / size_);
        shares(r, k) = static_cast<float>(steps) / scale_[k];
      }
    }
    return shares;
  }

  // products = v_g M
  void Multiply(const Matrix<float>& shares, std::size_t g, Matrix<float>& products) const {
    const std::size_t begin = g * size_;
    math::MatMul(math::Plain(shares.view().Cols(begin, size_)),
                 math::Plain(metric_.gram.Rows(begin, size_)), size_, products);
    for (std::size_t r = 0; r < products.rows(); ++r) {
      for (std::size_t k = begin; k < begin + size_; ++k) {
        products(r, k) += metric_.added[k] * shares(r, k);
      }
    }
  }

  MatrixView<const float> weights_;
  std::span<const float> scale_;
  const RefitMetric& metric_;
  quant::QuantizedLinear& linear_;
  std::size_t size_;
};

}  // namespace

std::vector<double> RefitScales(ThreadPool& pool, MatrixView<const float> weights,
                                std::span<const float> scale, const RefitMetric& metric,
                                quant::QuantizedLinear& linear) {
  const std::size_t groups = linear.groups();
  AWQ_CHECK_LE(groups, kMostRefittedGroups);
  const std::size_t rows =
      std::clamp(kSystemBytes / (groups * groups * sizeof(float)), std::size_t{1}, kMostRows);
  const Refitter refitter(weights, scale, metric, linear);
  std::vector<double> losses(weights.rows);
  pool.ParallelFor(CeilDiv(weights.rows, rows), [&](std::size_t task, std::size_t) {
    const std::size_t first = task * rows;
    const std::size_t count = std::min(rows, weights.rows - first);
    refitter.Rows(first, count, std::span(losses).subspan(first, count));
  });
  return losses;
}

}  // namespace awq::search
