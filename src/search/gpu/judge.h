// PairedError on a GPU: one linear's outputs on rows of inputs.
#pragma once

#include <cstddef>

#include "search/gpu/queue.h"

namespace awq::search::gpu {

// Rows on the device, [rows, in]; targets and `difference` (targets less inputs) are empty where
// targets are the inputs.
struct JudgeRows {
  JudgeRows() = default;
  JudgeRows(Queue& queue, Buffer inputs, Buffer targets, int rows, int in);

  Buffer inputs, targets, difference;
  int rows = 0, in = 0;
  bool paired = false;
};

class Judge {
 public:
  // All must outlive it; weights W [out, in].
  Judge(Queue& queue, const JudgeRows& rows, const cuda::DeviceMatrix& weights);

  double energy() const { return energy_; }
  // sum || W y - (W - errors) x ||^2; errors [out, in].
  double Of(const cuda::DeviceMatrix& errors);
  double BestStep(const cuda::DeviceMatrix& change);

 private:
  // to = or += rows weights^T
  void Outputs(const Buffer& rows, const cuda::DeviceMatrix& weights, bool add, const Buffer& to);
  double SumProducts(const Buffer& x, const Buffer& y);

  Queue& queue_;
  const JudgeRows& rows_;
  int out_;
  Buffer inherited_;  // [rows, out]: W (y - x); empty where y = x
  double energy_ = 0;
};

}  // namespace awq::search::gpu
