// Percentile bootstrap over windows (Efron 1979): tokens of one window depend on one another, so
// windows are what is drawn again. Of a task, its items are.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "base/threads.h"

namespace awq::eval {

// A measured value and its 95 % interval.
struct Figure {
  double value = 0;
  double low = 0;
  double high = 0;
};

// Which windows each resample holds: the same for every figure of an evaluation, so that figures
// are paired. Deterministic.
class Resamples {
 public:
  explicit Resamples(std::size_t windows);

  std::size_t windows() const { return windows_; }
  static constexpr std::size_t kCount = 1000;

  // times[w] = how often resample r holds window w; they sum to windows().
  void Times(std::size_t r, std::span<std::uint32_t> times) const;

 private:
  std::size_t windows_;
};

// The mean of one value per window (or of equally many values per window: their window means).
Figure MeanFigure(const Resamples& resamples, std::span<const double> window_means);

// Quantiles q of one value per token, tokens [windows * per_window] window after window, linear
// between ranks as numpy.percentile.
std::vector<Figure> QuantileFigures(ThreadPool& pool, const Resamples& resamples,
                                    std::span<const float> values, std::span<const double> q);

}  // namespace awq::eval
