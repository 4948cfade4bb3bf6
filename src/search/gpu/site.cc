#include "search/gpu/site.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/check.h"
#include "base/checked.h"
#include "cuda/copy.h"
#include "search/gram_factor.h"

namespace awq::search::gpu {
namespace {

constexpr std::size_t kMostGroups = 1024;  // of a refitted row
constexpr int kRefitRows = 2048;           // at a time: their systems are large

cuda::CodeSpec CodesOf(const quant::Spec& spec) {
  cuda::CodeSpec codes;
  codes.group_size = static_cast<int>(spec.group_size);
  codes.max_code = static_cast<float>(spec.max_code());
  codes.mid_code = static_cast<float>(spec.mid_code());
  codes.symmetric = spec.symmetric;
  return codes;
}

}  // namespace

struct DeviceArithmetic::Codes final : Rounded {
  Buffer codes, steps, zeros, losses;
  int rows = 0;

  cuda::DeviceCodes data() const {
    return {codes.data<std::uint8_t>(), steps.data<float>(), zeros.data<std::uint8_t>()};
  }
};

DeviceArithmetic::Codes& DeviceArithmetic::Of(Rounded& rounded) {
  return dynamic_cast<Codes&>(rounded);
}
const DeviceArithmetic::Codes& DeviceArithmetic::Of(const Rounded& rounded) {
  return dynamic_cast<const Codes&>(rounded);
}

bool CanHold(const quant::Spec& spec, std::size_t in_features, std::size_t shared_bytes) {
  return spec.group_size % 4 == 0 && spec.group_size * cuda::kClipBytes <= shared_bytes &&
         in_features % spec.group_size == 0 && in_features / spec.group_size <= kMostGroups;
}

DeviceArithmetic::DeviceArithmetic(Queue& queue, const ScaledLinears& linears,
                                   DeviceStatistics& statistics)
    : queue_(queue),
      spec_(linears.spec),
      codes_(CodesOf(spec_)),
      in_(statistics.in()),
      statistics_(statistics) {
  AWQ_CHECK(queue.fault() || CanHold(spec_, mean_abs().size(), queue.shared_bytes()));
  AWQ_CHECK_LT(0, statistics.sketch.rows);
  for (const MatrixView<const float>& weights : linears.weights) {
    AWQ_CHECK_EQ(weights.cols, static_cast<std::size_t>(in_));
    AWQ_CHECK_EQ(weights.stride, weights.cols);
    const int rows = static_cast<int>(weights.rows);
    weights_.push_back(
        queue.Upload<float>(std::span<const float>(weights.data, weights.rows * weights.cols)));
    originals_.push_back(Whole(weights_.back(), rows, in_));
  }
  targets_ = originals_;
  corrected_.resize(originals_.size());
  judges_.resize(originals_.size());
}

Judge& DeviceArithmetic::JudgeOf(std::size_t linear) {
  std::optional<Judge>& judge = judges_[linear];
  if (!judge) {
    const JudgeRows& held_out = statistics_.held_out;
    judge.emplace(queue_, held_out.rows > 0 ? held_out : statistics_.sketch, originals_[linear]);
  }
  return *judge;
}

// As a column of a matrix with rows that are one longer.
std::vector<float> DeviceArithmetic::DiagonalOf(const Buffer& matrix) const {
  const Buffer diagonal = queue_.Take<float>(Count(in_, 1));
  queue_.Do([&] {
    return cuda::Combine(1, {matrix.data<float>(), in_ + 1, in_, 1}, 0, {},
                         {diagonal.data<float>(), 1, in_, 1}, queue_.stream());
  });
  return queue_.Read(diagonal.data<float>(), Count(in_, 1));
}

double DeviceArithmetic::Factor(const SiteOptions& options) {
  const int blocks = cuda::FactorBlocks(in_);
  lower_ = queue_.Take<float>(Count(in_, in_));
  inverses_ = queue_.Take<float>(Count(blocks * cuda::kFactorBlock, cuda::kFactorBlock));
  const Buffer panel = queue_.Take<float>(Count(in_, cuda::kFactorBlock));
  const Buffer failed = queue_.Take<int>(1);
  const SiteDamping damping = DampingOf(mean_abs().size(), statistics_.tokens, options);
  const auto attempt = [&](const GramFactor& factor) {
    order_ = queue_.Upload<std::uint32_t>(factor.order);
    added_ = queue_.Upload<float>(factor.added);
    cuda::FactorTask task;
    task.gram = statistics_.gram.data<float>();
    task.order = order_.data<std::uint32_t>();
    task.added = added_.data<float>();
    task.n = in_;
    task.lower = lower_.data<float>();
    task.inverses = inverses_.data<float>();
    task.panel = panel.data<float>();
    task.failed = failed.data<int>();
    queue_.Do([&] { return cuda::FactorGram(task, queue_.stream()); });
    return queue_.Read(failed.data<int>(), 1).front() == 0;  // with a fault, too
  };
  const GramFactor factor =
      FactorDamped(DiagonalOf(statistics_.gram), damping.damping, damping.form, attempt);
  const std::vector<float> pivots = DiagonalOf(lower_);
  variances_.resize(pivots.size());
  for (std::size_t k = 0; k < pivots.size(); ++k) {
    variances_[factor.order[k]] = pivots[k] * pivots[k];
  }
  return factor.damping;
}

// W C (H + diag(added))^-1
Buffer DeviceArithmetic::Change(std::size_t linear) {
  const int rows = originals_[linear].rows;
  Buffer change = std::move(statistics_.projected);
  if (change.is_empty()) {
    change = queue_.Take<float>(Count(rows, in_));
    cuda::ProductTask product;
    product.a = originals_[linear];
    product.b = Whole(statistics_.cross, in_, in_);
    product.to = Whole(change, rows, in_);
    queue_.Do([&] { return cuda::Multiply(product, queue_.stream()); });
  }
  const Buffer ordered = queue_.Take<float>(Count(rows, in_));
  const Buffer panel = queue_.Take<float>(Count(rows, cuda::kFactorBlock));
  cuda::SolveTask solve;
  solve.lower = lower_.data<float>();
  solve.inverses = inverses_.data<float>();
  solve.n = in_;
  solve.rows = Whole(ordered, rows, in_);
  solve.panel = panel.data<float>();
  const auto permute = [&](const Buffer& from, bool back, const Buffer& to) {
    queue_.Do([&] {
      return cuda::PermuteColumns(Whole(from, rows, in_), order_.data<std::uint32_t>(), back,
                                  Whole(to, rows, in_), queue_.stream());
    });
  };
  permute(change, false, ordered);
  queue_.Do([&] { return cuda::SolveRows(solve, queue_.stream()); });
  permute(ordered, true, change);
  return change;
}

double DeviceArithmetic::CorrectTarget(std::size_t linear) {
  if (statistics_.cross.is_empty() && statistics_.projected.is_empty()) return 0;
  Buffer change = Change(linear);
  const cuda::DeviceMatrix all = Whole(change, originals_[linear].rows, in_);
  const double alpha = JudgeOf(linear).BestStep(all);
  if (alpha == 0) return 0;
  queue_.Do([&] {
    return cuda::Combine(1, originals_[linear], static_cast<float>(alpha), all, all,
                         queue_.stream());
  });
  corrected_[linear] = std::move(change);
  targets_[linear] = all;
  return alpha;
}

std::vector<float> DeviceArithmetic::TargetProfile() {
  const auto n = static_cast<std::size_t>(in_);
  const Buffer sums = queue_.Take<double>(n);
  queue_.Do(
      [&] { return cuda::FillBytes(sums.data<double>(), 0, n * sizeof(double), queue_.stream()); });
  int rows = 0;
  for (const cuda::DeviceMatrix& target : targets_) {
    rows += target.rows;
    const Buffer parts = queue_.Take<float>(Count(cuda::ProfileParts(target.rows), in_));
    cuda::ProfileTask task;
    task.weights = target;
    task.group_size = codes_.group_size;
    task.parts = parts.data<float>();
    task.sums = sums.data<double>();
    queue_.Do([&] { return cuda::AddProfile(task, queue_.stream()); });
  }
  std::vector<float> profile;
  for (const double sum : queue_.Read(sums.data<double>(), n)) {
    profile.push_back(static_cast<float>(sum / rows));
  }
  return profile;
}

const float* DeviceArithmetic::Place(const Scale& scale) {
  if (placed_ != scale) {
    scale_ = queue_.Upload<float>(scale);
    placed_ = scale;
  }
  return scale_.data<float>();
}

// What SearchRanges weighs errors of W diag(s) with.
std::vector<float> DeviceArithmetic::Units(const Scale& scale) const {
  std::vector<float> units;
  for (std::size_t i = 0; i < scale.size(); ++i) {
    units.push_back(std::sqrt(variances_[i]) / scale[i]);
  }
  return units;
}

std::unique_ptr<DeviceArithmetic::Codes> DeviceArithmetic::MakeCodes(int rows) {
  auto made = std::make_unique<Codes>();
  const int groups = in_ / codes_.group_size;
  made->rows = rows;
  made->codes = queue_.Take<std::uint8_t>(Count(rows, in_));
  made->steps = queue_.Take<float>(Count(rows, groups));
  made->zeros = queue_.Take<std::uint8_t>(Count(rows, groups));
  made->losses = queue_.Take<double>(Count(rows, 1));
  return made;
}

void DeviceArithmetic::RoundWithFeedback(const cuda::DeviceMatrix& weights, const Scale& scale,
                                         const cuda::DeviceCodes& rounded, double* losses) {
  const Buffer feedback = queue_.Take<float>(Count(weights.rows, in_));
  const Buffer errors = queue_.Take<float>(Count(weights.rows, cuda::kFeedbackBlock));
  cuda::FeedbackTask task;
  task.weights = weights;
  task.scale = Place(scale);
  task.lower = lower_.data<float>();
  task.order = order_.data<std::uint32_t>();
  task.added = added_.data<float>();
  task.spec = codes_;
  task.rounded = rounded;
  task.feedback = feedback.data<float>();
  task.errors = errors.data<float>();
  task.losses = losses;
  queue_.Do([&] { return cuda::RoundWithFeedback(task, queue_.stream()); });
}

double DeviceArithmetic::FeedbackLoss(std::size_t linear, std::size_t step, const Scale& scale) {
  cuda::DeviceMatrix rows = targets_[linear];
  const int every = static_cast<int>(step);
  rows.rows = (rows.rows + every - 1) / every;
  rows.stride *= every;
  const int groups = in_ / codes_.group_size;
  const Buffer steps = queue_.Take<float>(Count(rows.rows, groups));
  const Buffer zeros = queue_.Take<std::uint8_t>(Count(rows.rows, groups));
  const Buffer losses = queue_.Take<double>(Count(rows.rows, 1));
  const Buffer sum = queue_.Take<double>(1);
  cuda::GroupTask maps;
  maps.weights = rows;
  maps.scale = Place(scale);
  maps.spec = codes_;
  maps.to = {nullptr, steps.data<float>(), zeros.data<std::uint8_t>()};
  queue_.Do([&] { return cuda::RoundGroups(maps, queue_.stream()); });
  RoundWithFeedback(rows, scale, maps.to, losses.data<double>());
  queue_.Do([&] {
    return cuda::Sum(losses.data<double>(), rows.rows, sum.data<double>(), queue_.stream());
  });
  return queue_.Read(sum.data<double>(), 1).front();
}

std::vector<double> DeviceArithmetic::EstimateLosses(std::span<const Scale> candidates) {
  return Losses(candidates, Whole(statistics_.sketch.inputs, statistics_.sketch.rows, in_), true,
                false);
}

std::vector<double> DeviceArithmetic::ExactLosses(std::span<const Scale> candidates) {
  return Losses(candidates, Whole(statistics_.gram, in_, in_), false, true);
}

std::vector<double> DeviceArithmetic::Losses(std::span<const Scale> candidates,
                                             const cuda::DeviceMatrix& b, bool b_transposed,
                                             bool with_residual) {
  std::vector<double> losses(candidates.size());
  const int columns = b_transposed ? b.rows : b.columns;
  for (const cuda::DeviceMatrix& weights : originals_) {
    const Buffer residual = queue_.Take<float>(Count(weights.rows, in_));
    const Buffer outputs = queue_.Take<float>(Count(weights.rows, columns));
    const Buffer parts = queue_.Take<double>(Count(weights.rows, 1));
    const Buffer sums = queue_.Take<double>(candidates.size());
    for (std::size_t k = 0; k < candidates.size(); ++k) {
      cuda::GroupTask rounding;
      rounding.weights = weights;
      rounding.scale = Place(candidates[k]);
      rounding.spec = codes_;
      rounding.residual = Whole(residual, weights.rows, in_);
      queue_.Do([&] { return cuda::RoundGroups(rounding, queue_.stream()); });
      cuda::ProductTask product;
      product.a = rounding.residual;
      product.b = b;
      product.b_transposed = b_transposed;
      product.to = Whole(outputs, weights.rows, columns);
      queue_.Do([&] { return cuda::Multiply(product, queue_.stream()); });
      queue_.Do([&] {
        const cuda::DeviceMatrix& with = with_residual ? rounding.residual : product.to;
        return cuda::SumProducts(product.to, with, parts.data<double>(), sums.data<double>() + k,
                                 queue_.stream());
      });
    }
    const std::vector<double> found = queue_.Read(sums.data<double>(), candidates.size());
    for (std::size_t k = 0; k < losses.size(); ++k) losses[k] += found[k];
  }
  return losses;
}

RoundedPtr DeviceArithmetic::RoundToNearest(std::size_t linear, const Scale& scale, bool clip) {
  const cuda::DeviceMatrix& weights = originals_[linear];
  auto rounded = MakeCodes(weights.rows);
  const Buffer bounds = queue_.Take<float>(Count(weights.rows, in_ / codes_.group_size));
  if (clip) {
    cuda::ClipTask task;
    task.weights = weights;
    task.scale = Place(scale);
    task.gram = statistics_.gram.data<float>();
    task.spec = codes_;
    task.bounds = bounds.data<float>();
    queue_.Do([&] { return cuda::SearchClip(task, queue_.stream()); });
  }
  cuda::GroupTask task;
  task.weights = weights;
  task.scale = Place(scale);
  task.bounds = clip ? bounds.data<float>() : nullptr;
  task.spec = codes_;
  task.to = rounded->data();
  queue_.Do([&] { return cuda::RoundGroups(task, queue_.stream()); });
  return rounded;
}

std::vector<RoundedPtr> DeviceArithmetic::RoundTarget(std::size_t linear, const Scale& scale,
                                                      bool also_searched_ranges) {
  std::vector<RoundedPtr> attempts;
  const auto round_in = [&](const float* units) {
    auto rounded = MakeCodes(targets_[linear].rows);
    cuda::GroupTask maps;
    maps.weights = targets_[linear];
    maps.scale = Place(scale);
    maps.units = units;
    maps.spec = codes_;
    maps.to = {nullptr, rounded->steps.data<float>(), rounded->zeros.data<std::uint8_t>()};
    queue_.Do([&] { return cuda::RoundGroups(maps, queue_.stream()); });
    RoundWithFeedback(targets_[linear], scale, rounded->data(), rounded->losses.data<double>());
    attempts.push_back(std::move(rounded));
  };
  round_in(nullptr);
  if (also_searched_ranges) {
    const Buffer units = queue_.Upload<float>(Units(scale));
    round_in(units.data<float>());
  }
  return attempts;
}

RoundedPtr DeviceArithmetic::Copy(const Rounded& from) {
  const Codes& old = Of(from);
  auto copy = MakeCodes(old.rows);
  const std::size_t groups = Count(old.rows, in_ / codes_.group_size);
  // Buffers have whole pages, and so room for the last vector.
  const auto move = [&](const Buffer& source, const Buffer& to, std::size_t bytes) {
    const std::size_t whole = RoundUp(bytes, 16);
    queue_.Do([&] {
      return cuda::CopyOnDevice(to.data<void>(), source.data<void>(), whole, queue_.stream());
    });
  };
  move(old.codes, copy->codes, Count(old.rows, in_));
  move(old.steps, copy->steps, groups * sizeof(float));
  move(old.zeros, copy->zeros, groups);
  move(old.losses, copy->losses, Count(old.rows, 1) * sizeof(double));
  return copy;
}

void DeviceArithmetic::Refit(std::size_t linear, const Scale& scale, Rounded& rounded) {
  const Codes& codes = Of(rounded);
  const int groups = in_ / codes_.group_size;
  const int most = std::min(kRefitRows, codes.rows);
  const Buffer shares = queue_.Take<float>(Count(most, in_));
  const Buffer products = queue_.Take<float>(Count(most, in_));
  const Buffer systems = queue_.Take<float>(Count(most, groups * groups));
  const Buffer right = queue_.Take<float>(Count(most, groups));
  for (int first = 0; first < codes.rows; first += most) {
    const int count = std::min(most, codes.rows - first);
    const cuda::DeviceCodes all = codes.data();
    cuda::RefitTask task;
    task.weights = targets_[linear].Rows(first, count);
    task.scale = Place(scale);
    task.gram = statistics_.gram.data<float>();
    task.added = added_.data<float>();
    task.group_size = codes_.group_size;
    task.rounded = {all.codes + Count(first, in_), all.steps + Count(first, groups),
                    all.zeros + Count(first, groups)};
    task.shares = shares.data<float>();
    task.products = products.data<float>();
    task.systems = systems.data<float>();
    task.right = right.data<float>();
    task.losses = codes.losses.data<double>() + first;
    queue_.Do([&] { return cuda::RefitScales(task, queue_.stream()); });
  }
}

void DeviceArithmetic::RoundAgain(std::size_t linear, const Scale& scale, Rounded& rounded) {
  const Codes& codes = Of(rounded);
  RoundWithFeedback(targets_[linear], scale, codes.data(), codes.losses.data<double>());
}

void DeviceArithmetic::KeepBetterRows(const Rounded& other, Rounded& kept) {
  cuda::KeepTask task;
  task.rows = Of(kept).rows;
  task.columns = in_;
  task.groups = in_ / codes_.group_size;
  task.other = Of(other).data();
  task.other_losses = Of(other).losses.data<double>();
  task.kept = Of(kept).data();
  task.losses = Of(kept).losses.data<double>();
  queue_.Do([&] { return cuda::KeepBetterRows(task, queue_.stream()); });
}

double DeviceArithmetic::ErrorOf(Judge& judge, std::size_t linear, const Rounded& rounded,
                                 const Scale& scale) {
  const cuda::DeviceMatrix& weights = originals_[linear];
  const Buffer errors = queue_.Take<float>(Count(weights.rows, in_));
  cuda::ErrorTask task;
  task.weights = weights;
  task.scale = Place(scale);
  task.rounded = Of(rounded).data();
  task.group_size = codes_.group_size;
  task.to = Whole(errors, weights.rows, in_);
  queue_.Do([&] { return cuda::RoundingErrors(task, queue_.stream()); });
  return judge.Of(task.to);
}

double DeviceArithmetic::Error(std::size_t linear, const Rounded& rounded, const Scale& scale) {
  return ErrorOf(JudgeOf(linear), linear, rounded, scale);
}

std::vector<double> DeviceArithmetic::SketchErrors(std::size_t linear,
                                                   std::span<const Attempted> attempts) {
  Judge judge(queue_, statistics_.sketch, originals_[linear]);
  std::vector<double> errors;
  for (const Attempted& attempt : attempts) {
    errors.push_back(ErrorOf(judge, linear, *attempt.rounded, *attempt.scale));
  }
  return errors;
}

quant::QuantizedLinear DeviceArithmetic::Take(RoundedPtr rounded) {
  const Codes& codes = Of(*rounded);
  const auto rows = static_cast<std::size_t>(codes.rows);
  const auto in = static_cast<std::size_t>(in_);
  const std::size_t groups = in / spec_.group_size;
  quant::QuantizedLinear linear{spec_, Matrix<std::uint8_t>(rows, in, 0),
                                Matrix<float>(rows, groups, 0.0F),
                                Matrix<std::uint8_t>(rows, groups, 0)};
  const auto read = [&](auto& to, const Buffer& from) {
    queue_.Do([&] {
      return cuda::CopyToHost(to.data(), from.data<void>(), to.span().size_bytes(),
                              queue_.stream());
    });
  };
  read(linear.codes, codes.codes);
  read(linear.scales, codes.steps);
  read(linear.zeros, codes.zeros);
  queue_.Wait();
  return linear;
}

}  // namespace awq::search::gpu
