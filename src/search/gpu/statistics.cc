#include "search/gpu/statistics.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "base/check.h"
#include "cuda/copy.h"
#include "search/statistics_loops.h"

namespace awq::search::gpu {
namespace {

using Bits = std::uint16_t;  // of a bf16
using Counter = std::remove_pointer_t<cuda::NonfiniteCount>;

// Of a difference, which is the largest scratch.
constexpr int kChunkTokens = 2048;
constexpr int kRows = kSketchRows;
static_assert(cuda::kSketchMinus == 0x80000000U);  // as SketchPlace has it

const Bits* Row(const void* rows, std::int64_t row, int width) {
  return rows == nullptr ? nullptr : static_cast<const Bits*>(rows) + row * width;
}

Buffer Zeros(Queue& queue, std::size_t bytes) {
  Buffer buffer = queue.Take<unsigned char>(bytes);
  queue.Do([&] { return cuda::FillBytes(buffer.data<void>(), 0, bytes, queue.stream()); });
  return buffer;
}

void ScaleRows(Queue& queue, float factor, const cuda::DeviceMatrix& m) {
  queue.Do([&] { return cuda::Combine(factor, m, 0, {}, m, queue.stream()); });
}

// The starts of kRows lists of places in x, and the lists: of tokens that `first` came before.
std::vector<std::uint32_t> ListsOf(std::size_t first, int count) {
  std::vector<SketchPlace> places;
  std::vector<std::uint32_t> lists(std::size_t{kRows} + 1);
  for (int t = 0; t < count; ++t) {
    places.push_back(PlaceInSketch(first + static_cast<std::size_t>(t), kSketchRows));
    ++lists[places.back().row + 1];
  }
  for (std::size_t row = 0; row < kSketchRows; ++row) lists[row + 1] += lists[row];
  std::array<std::uint32_t, kSketchRows> next;
  std::copy_n(lists.begin(), kSketchRows, next.begin());
  const std::size_t starts = lists.size();
  lists.resize(starts + places.size());
  for (std::size_t t = 0; t < places.size(); ++t) {
    lists[starts + next[places[t].row]++] = static_cast<std::uint32_t>(t) | places[t].sign;
  }
  return lists;
}

JudgeRows UploadedRows(Queue& queue, const Matrix<float>& inputs, const Matrix<float>& targets) {
  if (inputs.rows() == 0) return {};
  Buffer to = queue.Upload<float>(inputs.span());
  Buffer of_targets = targets.rows() > 0 ? queue.Upload<float>(targets.span()) : Buffer();
  return {queue, std::move(to), std::move(of_targets), static_cast<int>(inputs.rows()),
          static_cast<int>(inputs.cols())};
}

Matrix<float> Read(Queue& queue, const Buffer& from, int rows, int columns) {
  Matrix<float> to(static_cast<std::size_t>(rows), static_cast<std::size_t>(columns), 0.0F);
  queue.Do([&] {
    return cuda::CopyToHost(to.data(), from.data<void>(), to.span().size_bytes(), queue.stream());
  });
  queue.Wait();
  return to;
}

PairedRows Read(Queue& queue, const JudgeRows& from) {
  PairedRows rows;
  if (from.rows > 0) rows.inputs = Read(queue, from.inputs, from.rows, from.in);
  if (from.paired) rows.targets = Read(queue, from.targets, from.rows, from.in);
  return rows;
}

}  // namespace

DeviceStatistics Uploaded(Queue& queue, SiteStatistics statistics) {
  DeviceStatistics to;
  to.tokens = statistics.tokens;
  to.mean_abs = std::move(statistics.mean_abs);
  to.max_abs = std::move(statistics.max_abs);
  to.gram = queue.Upload<float>(statistics.gram.span());
  if (statistics.cross.rows() > 0) to.cross = queue.Upload<float>(statistics.cross.span());
  to.projected_rows = static_cast<int>(statistics.projected.rows());
  if (to.projected_rows > 0) to.projected = queue.Upload<float>(statistics.projected.span());
  to.sketch = UploadedRows(queue, statistics.sketch, statistics.target_sketch);
  to.held_out = UploadedRows(queue, statistics.held_out.inputs, statistics.held_out.targets);
  return to;
}

SiteStatistics Downloaded(Queue& queue, DeviceStatistics statistics) {
  const int in = statistics.in();
  SiteStatistics to;
  to.tokens = statistics.tokens;
  to.gram = Read(queue, statistics.gram, in, in);
  if (!statistics.cross.is_empty()) to.cross = Read(queue, statistics.cross, in, in);
  if (statistics.projected_rows > 0) {
    to.projected = Read(queue, statistics.projected, statistics.projected_rows, in);
  }
  PairedRows sketch = Read(queue, statistics.sketch);
  to.sketch = std::move(sketch.inputs);
  to.target_sketch = std::move(sketch.targets);
  to.held_out = Read(queue, statistics.held_out);
  to.mean_abs = std::move(statistics.mean_abs);
  to.max_abs = std::move(statistics.max_abs);
  return to;
}

DeviceAccumulator::DeviceAccumulator(Queue& queue, std::size_t width, bool paired)
    : queue_(queue), width_(static_cast<int>(width)), paired_(paired) {
  const std::size_t square = width * width * sizeof(float);
  const std::size_t sketch = kSketchRows * width * sizeof(float);
  gram_ = Zeros(queue, square);
  sketch_ = Zeros(queue, sketch);
  abs_sums_ = Zeros(queue, width * sizeof(double));
  max_abs_ = Zeros(queue, width * sizeof(float));
  nonfinite_ = Zeros(queue, sizeof(Counter));
  if (!paired) return;
  cross_ = Zeros(queue, square);
  target_sketch_ = Zeros(queue, sketch);
}

// After a fault there may be none.
void DeviceAccumulator::CheckTargets(const void* targets) const {
  AWQ_CHECK(queue_.fault() || (targets != nullptr) == paired_);
}

void DeviceAccumulator::Add(const void* x, const void* targets, int tokens) {
  CheckTargets(targets);
  for (int first = 0; first < tokens; first += kChunkTokens) {
    const int count = std::min(kChunkTokens, tokens - first);
    AddChunk({Row(x, first, width_), cuda::Element::kBF16, count, width_},
             Row(targets, first, width_));
  }
}

void DeviceAccumulator::AddChunk(const cuda::InputRows& x, const void* targets) {
  if (paired_) AddCross(x, targets);
  cuda::GramTask task;
  task.x = x.data;
  task.tokens = x.tokens;
  task.width = width_;
  task.gram = gram_.data<float>();
  queue_.Do([&] { return cuda::AccumulateGram(task, queue_.stream()); });
  AddColumns(x);
  AddSketches(x, targets);
  tokens_ += static_cast<std::size_t>(x.tokens);
}

// (Y - X)^T X
void DeviceAccumulator::AddCross(const cuda::InputRows& x, const void* targets) {
  const Buffer difference = queue_.Take<Bits>(Count(x.tokens, width_));
  cuda::DifferenceTask minus;
  minus.a = x;
  minus.a.data = targets;
  minus.b = x.data;
  minus.out = difference.data<void>();
  queue_.Do([&] { return cuda::Subtract(minus, queue_.stream()); });
  cuda::GramTask task;
  task.x = x.data;
  task.left = minus.out;
  task.tokens = x.tokens;
  task.width = width_;
  task.gram = cross_.data<float>();
  queue_.Do([&] { return cuda::AccumulateGram(task, queue_.stream()); });
}

void DeviceAccumulator::AddColumns(const cuda::InputRows& x) {
  const std::size_t parts = Count(cuda::ColumnParts(x.tokens), width_);
  const Buffer part_sums = queue_.Take<double>(parts);
  const Buffer part_largest = queue_.Take<float>(parts);
  cuda::ColumnsTask task;
  task.x = x;
  task.sums = abs_sums_.data<double>();
  task.largest = max_abs_.data<float>();
  task.nonfinite = nonfinite_.data<Counter>();
  task.part_sums = part_sums.data<double>();
  task.part_largest = part_largest.data<float>();
  queue_.Do([&] { return cuda::AddColumns(task, queue_.stream()); });
}

void DeviceAccumulator::AddSketches(const cuda::InputRows& x, const void* targets) {
  const std::vector<std::uint32_t> lists = ListsOf(tokens_, x.tokens);
  const Buffer there = queue_.Upload<std::uint32_t>(lists);
  const auto add = [&](const void* rows, const Buffer& to, cuda::NonfiniteCount nonfinite) {
    queue_.Do([&] {
      cuda::SketchTask task;
      task.x = x;
      task.x.data = rows;
      task.starts = there.data<std::uint32_t>();
      task.tokens = task.starts + kRows + 1;
      task.rows = kRows;
      task.sketch = to.data<float>();
      task.nonfinite = nonfinite;
      return cuda::AddSketch(task, queue_.stream());
    });
  };
  add(x.data, sketch_, nullptr);  // AddColumns counts those
  if (paired_) add(targets, target_sketch_, nonfinite_.data<Counter>());
}

void DeviceAccumulator::HoldOut(const void* x, const void* targets, int first, int step,
                                int count) {
  CheckTargets(targets);
  if (count == 0) return;
  cuda::WidenTask rows;
  rows.x = {x, cuda::Element::kBF16, first + (count - 1) * step + 1, width_};
  rows.first = first;
  rows.step = step;
  rows.count = count;
  rows.nonfinite = nonfinite_.data<Counter>();
  held_out_ = Appended(held_out_, rows);
  if (paired_) {
    rows.x.data = targets;
    held_targets_ = Appended(held_targets_, rows);
  }
  held_out_rows_ += count;
}

// What is held and these rows.
Buffer DeviceAccumulator::Appended(const Buffer& held, const cuda::WidenTask& rows) {
  const std::size_t before = Count(held_out_rows_, width_);
  Buffer longer = queue_.Take<float>(before + Count(rows.count, width_));
  if (before > 0) {
    queue_.Do([&] {
      return cuda::CopyOnDevice(longer.data<void>(), held.data<void>(), before * sizeof(float),
                                queue_.stream());
    });
  }
  queue_.Do([&] {
    cuda::WidenTask task = rows;
    task.to = longer.data<float>() + before;
    return cuda::Widen(task, queue_.stream());
  });
  return longer;
}

std::size_t DeviceAccumulator::CountNonfinite() {
  return queue_.Read(nonfinite_.data<Counter>(), 1).front();
}

DeviceStatistics DeviceAccumulator::Finish() && {
  AWQ_CHECK_LT(std::size_t{0}, tokens_);
  const auto tokens = static_cast<double>(tokens_);
  const auto inverse = static_cast<float>(1 / tokens);
  const auto root = static_cast<float>(1 / std::sqrt(tokens));
  const cuda::MirrorTask mirror{gram_.data<float>(), width_, inverse};
  queue_.Do([&] { return cuda::Mirror(mirror, queue_.stream()); });
  ScaleRows(queue_, root, Whole(sketch_, kRows, width_));
  if (paired_) {
    ScaleRows(queue_, inverse, Whole(cross_, width_, width_));
    ScaleRows(queue_, root, Whole(target_sketch_, kRows, width_));
  }
  DeviceStatistics found;
  found.tokens = tokens_;
  found.nonfinite = CountNonfinite();
  for (const double sum : queue_.Read(abs_sums_.data<double>(), Count(width_, 1))) {
    found.mean_abs.push_back(static_cast<float>(sum / tokens));
  }
  found.max_abs = queue_.Read(max_abs_.data<float>(), Count(width_, 1));
  found.gram = std::move(gram_);
  found.cross = std::move(cross_);
  found.sketch = JudgeRows(queue_, std::move(sketch_), std::move(target_sketch_), kRows, width_);
  if (held_out_rows_ > 0) {
    found.held_out =
        JudgeRows(queue_, std::move(held_out_), std::move(held_targets_), held_out_rows_, width_);
  }
  return found;
}

}  // namespace awq::search::gpu
