// Output errors on rows of inputs, for quantized inputs X and those of the original model, Y.
#pragma once

#include <span>

#include "base/threads.h"
#include "quant/quantized_linear.h"
#include "search/statistics.h"
#include "tensor/tensor.h"

namespace awq::search {

// One linear's outputs on rows: made once, asked for every attempt at quantizing it.
class PairedError {
 public:
  // weights W [out, in]; both must outlive this.
  PairedError(ThreadPool& pool, MatrixView<const float> weights, const PairedRows& rows);

  // sum || W y - Q diag(1/s) x ||^2 over the rows
  double Of(const quant::QuantizedLinear& linear, std::span<const float> scale) const;
  // The alpha in [0, 1] with the least sum || W y - (W + alpha change) x ||^2; change [out, in].
  double BestStep(MatrixView<const float> change) const;
  double energy() const { return energy_; }  // sum || W y ||^2

 private:
  ThreadPool& pool_;
  MatrixView<const float> weights_;
  const PairedRows& rows_;
  Matrix<float> inherited_;  // [rows, out]: W (y - x); empty where y = x
  double energy_ = 0;
};

// Mean over tokens of the squared output error against the original model.
struct ErrorPair {
  double rtn = 0;     // of rounding to nearest
  double chosen = 0;  // of what is kept
};
struct LinearQuality {
  ErrorPair calibration;  // on the sketch of the calibration tokens: within some percent
  ErrorPair held_out;     // without held-out tokens, the same
  double energy = 0;      // mean of || W y ||^2 over the held-out tokens
};

// The sketch as the rows of inputs that it stands for.
PairedRows SketchRows(const SiteStatistics& statistics);

}  // namespace awq::search
