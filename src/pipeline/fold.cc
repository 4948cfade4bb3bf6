#include "pipeline/fold.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "base/error.h"
#include "math/vector.h"
#include "transformer/block.h"

namespace awq::pipeline {
namespace {

using model::Role;

// Relative difference (root mean square) that rounding can explain. Folding replaces each product
// x w by (x/s)(w s): three roundings of 2^-24 each. Sums of up to 2^14 terms and the cancellation
// that a norm or the residual brings add less than 2^9 times that (on real models 2e-6 was the
// most seen; every report has its own); a forgotten reader or a wrong row shows as 1e-2 or more.
constexpr double kFoldTolerance = 3 * 0x1p-24 * 512;

std::size_t Index(Role role) { return static_cast<std::size_t>(role); }

std::string_view NameOf(const model::ArchSpec& arch, Role role) {
  for (const model::LinearRow& row : arch.linears) {
    if (row.role == role) return row.name;
  }
  for (const model::NormRow& row : arch.norms) {
    if (row.role == role) return row.name;
  }
  return "?";
}

// What the sites of one block read, copied, by first reader.
class Recorder final : public transformer::Observer {
 public:
  void OnInput(Role reader, const kernels::Activations& input) override {
    const MatrixView<const float> rows = input.f32();
    Matrix<float> copy(rows.rows, rows.cols);
    std::copy(rows.data, rows.data + rows.rows * rows.cols, copy.data());
    inputs.emplace(reader, std::move(copy));
  }
  std::map<Role, Matrix<float>> inputs;
};

struct BlockRun {
  Matrix<float> output;
  std::map<Role, Matrix<float>> inputs;
};

BlockRun RunSample(ThreadPool& pool, const model::ModelConfig& config, std::size_t layer,
                   const transformer::PreparedBlock& block, MatrixView<const float> sample) {
  constexpr auto kPrecision = kernels::Precision::kF32;
  const transformer::RopeTable rope(config, sample.rows);
  transformer::BlockRunner runner(pool, config, rope, kPrecision);
  transformer::KvCache cache(config, kPrecision,
                             {.layers = 1, .slots = 1, .capacity_tokens = sample.rows});
  BlockRun run{Matrix<float>(sample.rows, sample.cols), {}};
  std::copy(sample.data, sample.data + sample.rows * sample.cols, run.output.data());
  Recorder recorder;
  runner.Run(block, {layer, 0}, {{.tokens = sample.rows, .position = 0, .slot = 0}}, cache,
             run.output, &recorder);
  run.inputs = std::move(recorder.inputs);
  return run;
}

transformer::PreparedBlock PrepareFolded(ThreadPool& pool, const model::BlockWeights& weights,
                                         const FoldPlan& plan) {
  transformer::PreparedBlock block;
  for (std::size_t i = 0; i < model::kRoles; ++i) {
    const auto role = static_cast<Role>(i);
    if (weights.norms[i]) block.norms[i] = FoldedVector(*weights.norms[i], role, plan);
    if (!weights.linears[i]) continue;
    const model::Linear& linear = *weights.linears[i];
    block.linears[i] = kernels::Linear::FromFloats(pool, FoldedWeight(pool, linear, role, plan),
                                                   kernels::Precision::kF32);
    if (linear.bias) block.linears[i].set_bias(FoldedVector(*linear.bias, role, plan));
  }
  return block;
}

std::vector<double> ColumnSquares(const Matrix<float>& a, const std::vector<float>& scale,
                                  const Matrix<float>* minus) {
  std::vector<double> squares(a.cols());
  for (std::size_t r = 0; r < a.rows(); ++r) {
    for (std::size_t c = 0; c < a.cols(); ++c) {
      const double s = scale.empty() ? 1.0 : static_cast<double>(scale[c]);
      double value = static_cast<double>(a(r, c)) * s;
      if (minus != nullptr) value -= static_cast<double>((*minus)(r, c));
      squares[c] += value * value;
    }
  }
  return squares;
}

// The largest, over the channels, of |a scale - b| / |b| (root mean squares over the tokens; an
// empty scale is 1). A channel smaller than the median one counts as large as that: its sums have
// the rounding of larger terms. Outlier channels so hide nothing in the others. Channels that are
// always 0 have no say.
double RelativeDifference(const Matrix<float>& a, const std::vector<float>& scale,
                          const Matrix<float>& b) {
  const std::vector<double> difference = ColumnSquares(a, scale, &b);
  const std::vector<double> energy = ColumnSquares(b, {}, nullptr);
  std::vector<double> sorted = energy;
  std::erase(sorted, 0.0);
  if (sorted.empty()) sorted.push_back(0);
  const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2);
  std::nth_element(sorted.begin(), middle, sorted.end());
  double largest = 0;
  for (std::size_t c = 0; c < energy.size(); ++c) {
    if (difference[c] == 0) continue;
    const double relative = std::sqrt(difference[c] / std::max(energy[c], *middle));
    if (std::isnan(relative)) return relative;
    largest = std::max(largest, relative);
  }
  return largest;
}

// One value for each channel of the producer: of tied heads, which all have the same, the first.
std::vector<float> GivenBy(const std::vector<float>& scale, const search::HeadTie& tie) {
  if (tie.shared == 1) return scale;
  std::vector<float> given;
  const std::size_t span = tie.shared * tie.head_dim;
  for (std::size_t first = 0; first < scale.size(); first += span) {
    for (std::size_t d = 0; d < tie.head_dim; ++d) {
      given.push_back(scale[first + d]);
      for (std::size_t head = 1; head < tie.shared; ++head) {
        AWQ_CHECK_EQ(scale[first + head * tie.head_dim + d], given.back());
      }
    }
  }
  return given;
}

// Every reader of a site must take the scale that its producer gives.
Status CheckSite(const model::ModelConfig& config, std::size_t layer, const model::SiteRow& site,
                 const FoldPlan& plan) {
  const Result<search::HeadTie> tie = FoldTie(config, site);
  for (Role reader : site.readers) {
    const std::vector<float>& taken = plan.columns_of(reader);
    if ((tie ? GivenBy(taken, *tie) : taken) == plan.rows_of(site.producer)) continue;
    return MakeError(ErrorCode::kInternal,
                     "block {}: {} gives another scale than {} takes (site {}): a bug in awq, "
                     "please report it",
                     layer, NameOf(*config.arch, site.producer), NameOf(*config.arch, reader),
                     site.name);
  }
  return {};
}

}  // namespace

void FoldPlan::Add(const model::SiteRow& site, const std::vector<float>& scale,
                   const search::HeadTie& tie) {
  for (Role reader : site.readers) columns[Index(reader)] = scale;
  rows[Index(site.producer)] = GivenBy(scale, tie);
}

bool FoldPlan::empty() const {
  const auto nothing = [](const std::vector<float>& scale) { return scale.empty(); };
  return std::ranges::all_of(columns, nothing) && std::ranges::all_of(rows, nothing);
}

Result<search::HeadTie> FoldTie(const model::ModelConfig& config, const model::SiteRow& site) {
  if (site.fold == model::Fold::kNorm) return search::HeadTie{};
  std::size_t produced = 0;
  std::size_t read = 0;
  for (const model::LinearRow& row : config.arch->linears) {
    if (row.role == site.producer) produced = model::Width(config, row.out);
    if (row.role == site.readers.front()) read = model::Width(config, row.in);
  }
  if (produced == read) return search::HeadTie{};
  if (site.producer == Role::kV && produced == config.kv_width() && read == config.q_width()) {
    return search::HeadTie{.shared = read / produced, .head_dim = config.head_dim};
  }
  return MakeError(ErrorCode::kUnsupported, "{} gives {} values, {} reads {}",
                   NameOf(*config.arch, site.producer), produced,
                   NameOf(*config.arch, site.readers.front()), read);
}

std::string FoldObstacle(const model::ModelConfig& config, const model::SiteRow& site) {
  const Result<search::HeadTie> tie = FoldTie(config, site);
  if (!tie) return tie.error().message;
  if (tie->shared == 1) return "";
  return fmt::format("{} heads read each head that {} gives", tie->shared,
                     NameOf(*config.arch, site.producer));
}

Matrix<float> FoldedWeight(ThreadPool& pool, const model::Linear& linear, Role role,
                           const FoldPlan& plan) {
  AWQ_CHECK(!linear.is_packed());
  const std::vector<float>& columns = plan.columns_of(role);
  const std::vector<float>& rows = plan.rows_of(role);
  const std::size_t in = linear.in_features;
  const std::size_t row_bytes = in * ElementBytes(linear.weight.dtype);
  Matrix<float> folded(linear.out_features, in);
  pool.ParallelFor(linear.out_features, [&](std::size_t r, std::size_t) {
    const TensorView stored{
        linear.weight.dtype, {1, in}, linear.weight.bytes.subspan(r * row_bytes, row_bytes)};
    float* row = folded.row(r);
    math::Convert(stored, std::span<float>(row, in));
    if (!rows.empty()) {
      for (std::size_t c = 0; c < in; ++c) row[c] /= rows[r];
    }
    if (!columns.empty()) {
      for (std::size_t c = 0; c < in; ++c) row[c] *= columns[c];
    }
  });
  return folded;
}

std::vector<float> FoldedVector(const TensorView& tensor, Role role, const FoldPlan& plan) {
  std::vector<float> values = transformer::ToFloats(tensor);
  const std::vector<float>& rows = plan.rows_of(role);
  if (!rows.empty()) {
    for (std::size_t i = 0; i < values.size(); ++i) values[i] /= rows[i];
  }
  return values;
}

Result<double> VerifyFold(ThreadPool& pool, const model::ModelConfig& config, std::size_t layer,
                          const model::BlockWeights& weights, const FoldPlan& plan,
                          MatrixView<const float> sample) {
  for (const model::SiteRow& site : config.arch->sites) {
    AWQ_TRY(CheckSite(config, layer, site, plan));
  }
  const auto before = [&] {
    const transformer::PreparedBlock block = PrepareFolded(pool, weights, FoldPlan{});
    return RunSample(pool, config, layer, block, sample);
  }();
  const auto after = [&] {
    const transformer::PreparedBlock block = PrepareFolded(pool, weights, plan);
    return RunSample(pool, config, layer, block, sample);
  }();
  double largest = 0;
  std::string folded;  // the sites up to this one
  for (const model::SiteRow& site : config.arch->sites) {
    folded += fmt::format("{}{}", folded.empty() ? "" : ", ", site.name);
    const Role reader = site.readers.front();
    const double difference = RelativeDifference(after.inputs.at(reader), plan.columns_of(reader),
                                                 before.inputs.at(reader));
    if (!(difference <= kFoldTolerance)) {
      return MakeError(ErrorCode::kInternal,
                       "block {}: with its scales folded, {} gives {} something else to read (by "
                       "{:.2g}, at most {:.2g} is rounding): the architecture table of {} lacks a "
                       "reader or has a wrong producer among the sites {}",
                       layer, NameOf(*config.arch, site.producer), NameOf(*config.arch, reader),
                       difference, kFoldTolerance, config.model_type, folded);
    }
    largest = std::max(largest, difference);
  }
  const double difference = RelativeDifference(after.output, {}, before.output);
  if (!(difference <= kFoldTolerance)) {
    return MakeError(ErrorCode::kInternal,
                     "block {}: its output changes by {:.2g} when the scales are folded (at most "
                     "{:.2g} is rounding), though every site reads the same: a reader is missing "
                     "from the architecture table of {}",
                     layer, difference, kFoldTolerance, config.model_type);
  }
  return std::max(largest, difference);
}

}  // namespace awq::pipeline
