#include "search/gpu/judge.h"

#include <algorithm>
#include <utility>

namespace awq::search::gpu {

JudgeRows::JudgeRows(Queue& queue, Buffer inputs_in, Buffer targets_in, int rows_in, int in_in)
    : inputs(std::move(inputs_in)),
      targets(std::move(targets_in)),
      rows(rows_in),
      in(in_in),
      paired(!targets.is_empty()) {
  if (!paired) return;
  difference = queue.Take<float>(Count(rows, in));
  queue.Do([&] {
    return cuda::Combine(1, Whole(targets, rows, in), -1, Whole(inputs, rows, in),
                         Whole(difference, rows, in), queue.stream());
  });
}

Judge::Judge(Queue& queue, const JudgeRows& rows, const cuda::DeviceMatrix& weights)
    : queue_(queue), rows_(rows), out_(weights.rows) {
  const Buffer targets = queue.Take<float>(Count(rows.rows, out_));
  Outputs(rows.paired ? rows.targets : rows.inputs, weights, false, targets);
  energy_ = SumProducts(targets, targets);
  if (!rows.paired) return;
  inherited_ = queue.Take<float>(Count(rows.rows, out_));
  Outputs(rows.difference, weights, false, inherited_);
}

double Judge::Of(const cuda::DeviceMatrix& errors) {
  const Buffer sums = queue_.Take<float>(Count(rows_.rows, out_));
  const cuda::DeviceMatrix to = Whole(sums, rows_.rows, out_);
  if (rows_.paired) {
    queue_.Do([&] {
      return cuda::Combine(1, Whole(inherited_, rows_.rows, out_), 0, {}, to, queue_.stream());
    });
  }
  Outputs(rows_.inputs, errors, rows_.paired, sums);
  return SumProducts(sums, sums);
}

double Judge::BestStep(const cuda::DeviceMatrix& change) {
  if (!rows_.paired) return 0;
  const Buffer effect = queue_.Take<float>(Count(rows_.rows, out_));
  Outputs(rows_.inputs, change, false, effect);
  const double size = SumProducts(effect, effect);
  return size > 0 ? std::clamp(SumProducts(inherited_, effect) / size, 0.0, 1.0) : 0.0;
}

void Judge::Outputs(const Buffer& rows, const cuda::DeviceMatrix& weights, bool add,
                    const Buffer& to) {
  cuda::ProductTask task;
  task.a = Whole(rows, rows_.rows, rows_.in);
  task.b = weights;
  task.b_transposed = true;
  task.to = Whole(to, rows_.rows, out_);
  task.accumulate = add;
  queue_.Do([&] { return cuda::Multiply(task, queue_.stream()); });
}

double Judge::SumProducts(const Buffer& x, const Buffer& y) {
  const Buffer parts = queue_.Take<double>(Count(rows_.rows, 1));
  const Buffer sum = queue_.Take<double>(1);
  queue_.Do([&] {
    return cuda::SumProducts(Whole(x, rows_.rows, out_), Whole(y, rows_.rows, out_),
                             parts.data<double>(), sum.data<double>(), queue_.stream());
  });
  return queue_.Read(sum.data<double>(), 1).front();
}

}  // namespace awq::search::gpu
