#include "search/scale_refit.h"

#include <algorithm>

#include "base/check.h"
#include "base/checked.h"
#include "math/matmul.h"
#include "math/vector.h"
#include "search/long_tasks.h"

namespace awq::search {
namespace {

// What the systems of one task take at most.
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

// Of one worker; large, so it goes from task to task.
struct Scratch {
  Matrix<float> shares;    // [rows, in], v of all groups, side by side
  Matrix<float> products;  // [rows, in]
  Matrix<float> systems;   // [rows groups, groups]
  Matrix<float> right;     // [rows, groups]

  void Reserve(std::size_t rows, std::size_t in, std::size_t groups) {
    if (shares.rows() > 0) return;
    shares = Matrix<float>(rows, in);
    products = Matrix<float>(rows, in);
    systems = Matrix<float>(rows * groups, groups);
    right = Matrix<float>(rows, groups);
  }
};

class Refitter {
 public:
  Refitter(MatrixView<const float> weights, std::span<const float> scale, const RefitMetric& metric,
           quant::QuantizedLinear& linear)
      : weights_(weights),
        scale_(scale),
        metric_(metric),
        linear_(linear),
        size_(weights.cols / linear.groups()) {}

  void Rows(std::size_t first, std::size_t count, Scratch& scratch,
            std::span<double> losses) const {
    const std::size_t groups = linear_.groups();
    ReadShares(first, scratch.shares.view().Rows(0, count));
    const MatrixView<const float> shares = scratch.shares.view().Rows(0, count);
    const MatrixView<float> products = scratch.products.view().Rows(0, count);
    const MatrixView<float> systems = scratch.systems;
    const MatrixView<float> right = scratch.right;
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
      const System system{systems.Rows(r * groups, groups), {right.row(r), groups}};
      const std::span<float> scales(linear_.scales.row(first + r), groups);
      Descend(system, scales);
      losses[r] = LossOf(system, scales);
    }
  }

 private:
  void ReadShares(std::size_t first, MatrixView<float> shares) const {
    for (std::size_t r = 0; r < shares.rows; ++r) {
      for (std::size_t k = 0; k < weights_.cols; ++k) {
        const int steps = linear_.codes(first + r, k) - linear_.zeros(first + r, k / size_);
        shares(r, k) = static_cast<float>(steps) / scale_[k];
      }
    }
  }

  // products = v_g M
  void Multiply(MatrixView<const float> shares, std::size_t g, MatrixView<float> products) const {
    const std::size_t begin = g * size_;
    math::MatMul(math::Plain(shares.Cols(begin, size_)),
                 math::Plain(metric_.gram.Rows(begin, size_)), size_, products);
    for (std::size_t r = 0; r < products.rows; ++r) {
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
      std::min(RowsPerLongTask(weights.rows),
               std::max(std::size_t{1}, kSystemBytes / (groups * groups * sizeof(float))));
  const Refitter refitter(weights, scale, metric, linear);
  std::vector<double> losses(weights.rows);
  std::vector<Scratch> scratch(pool.size());
  pool.ParallelFor(CeilDiv(weights.rows, rows), [&](std::size_t task, std::size_t worker) {
    const std::size_t first = task * rows;
    const std::size_t count = std::min(rows, weights.rows - first);
    scratch[worker].Reserve(std::min(rows, weights.rows), weights.cols, groups);
    refitter.Rows(first, count, scratch[worker], std::span(losses).subspan(first, count));
  });
  return losses;
}

}  // namespace awq::search
