#include "pipeline/sequential.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/clock.h"
#include "base/error.h"
#include "pipeline/published.h"
#include "quant/group.h"

namespace awq::pipeline {
namespace {

using model::Role;
using Clock = std::chrono::steady_clock;

constexpr float kSmallestNormalHalf = 0x1p-14F;
constexpr float kSmallestHalf = 0x1p-24F;

// Rounded to fp16 again, a scale may be off by half a unit in the last place, 2^-11; more is lost
// only among fp16's subnormal numbers. A scale that is there already is of a group of (nearly)
// nothing, and may stay. Error: one that would be pushed there, or past the largest.
Result<Matrix<float>> DivideRows(const Matrix<float>& scales, const std::vector<float>& by) {
  Matrix<float> divided(scales.rows(), scales.cols());
  for (std::size_t r = 0; r < divided.rows(); ++r) {
    for (std::size_t g = 0; g < divided.cols(); ++g) {
      const float scale = scales(r, g);
      const float exact = scale / by[r];
      divided(r, g) = RoundToF16(std::max(exact, kSmallestHalf));
      const bool pushed = exact < kSmallestNormalHalf && scale >= kSmallestNormalHalf;
      if (pushed || !std::isfinite(divided(r, g))) {
        return MakeError(ErrorCode::kInternal, "row {}: {} is no scale that fp16 can hold", r,
                         exact);
      }
    }
  }
  return divided;
}

}  // namespace

SequentialBlock::SequentialBlock(ThreadPool& pool, Compute& compute,
                                 const model::ModelConfig& config, const Plan& plan,
                                 const Method& method, std::size_t layer,
                                 const model::BlockWeights& weights)
    : pool_(pool),
      compute_(compute),
      config_(config),
      plan_(plan),
      method_(method),
      layer_(layer),
      weights_(weights),
      prepared_(compute.NewBlock()) {}

Status SequentialBlock::Begin() { return StoreNorms(); }

Status SequentialBlock::StoreNorms() {
  AWQ_TRY(pipeline::StoreNorms(config_, layer_, weights_, fold_, stored_));
  for (const model::NormRow& row : config_.arch->norms) {
    AWQ_TRY(prepared_->SetNorm(row.role, stored_.norm(row.role)));
  }
  return {};
}

Status SequentialBlock::Solve(const model::SiteRow& site, search::SiteGathering& gathered,
                              BlockReport& report) {
  const auto start = Clock::now();
  SiteReport of_site;
  of_site.name = std::string(site.name);
  Result<search::HeadTie> tie = FoldTie(config_, site);
  if (!method_.site.scales) {
    tie = MakeError(ErrorCode::kUnsupported, "{} searches no scale", method_.name);
  }
  AWQ_ASSIGN(Solved solved, SolveLinears(site, gathered, tie));
  if (solved.roles.empty()) {
    of_site.obstacle = "none of its linears is quantized";
  } else if (!tie) {
    of_site.obstacle = tie.error().message;
  } else {
    of_site.exponents = solved.solution.exponents;
    AWQ_TRY(FoldIntoProducer(site, *tie, solved.solution.scale));
  }
  if (!solved.roles.empty()) of_site.damping = solved.solution.damping;
  for (std::size_t i = 0; i < solved.roles.size(); ++i) {
    const Role role = solved.roles[i];
    search::LinearSolution& linear = solved.solution.linears[i];
    const quant::Spec& spec = plan_.linear(role).spec;
    report.linears.push_back({.name = weights_.linear(role).name,
                              .bits = spec.bits,
                              .group_size = spec.group_size,
                              .rounding = std::string(linear.chosen),
                              .correction = linear.correction,
                              .quality = linear.quality,
                              .seconds = 0});
    stored_.linear(role).quantized = std::move(linear.weights);
  }
  for (const Role reader : site.readers) AWQ_TRY(Store(reader));
  of_site.seconds = SecondsSince(start);
  report.sites.push_back(std::move(of_site));
  return {};
}

Result<SequentialBlock::Solved> SequentialBlock::SolveLinears(const model::SiteRow& site,
                                                              search::SiteGathering& gathered,
                                                              const Result<search::HeadTie>& tie) {
  Solved solved;
  std::vector<Matrix<float>> owned;
  std::vector<MatrixView<const float>> views;
  std::vector<std::uint8_t> clipped;
  search::SiteProblem problem;
  for (const Role reader : site.readers) {
    const PlannedLinear& planned = plan_.linear(reader);
    if (!planned.quantized()) continue;
    const model::Linear& linear = weights_.linear(reader);
    owned.push_back(FoldedWeight(pool_, linear, reader, FoldPlan{}));
    AWQ_TRY(quant::CheckWeights(pool_, owned.back(), planned.spec, linear.name));
    views.push_back(owned.back().view());
    clipped.push_back(IsClipped(reader) ? 1 : 0);
    problem.linears.spec = planned.spec;
    solved.roles.push_back(reader);
  }
  if (views.empty()) return solved;
  problem.linears.weights = views;
  problem.clipped = clipped;
  problem.scalable = tie.ok();
  if (tie) {
    problem.tie = *tie;
    problem.allows = [&](const search::Scale& scale) { return Divided(site, *tie, scale).ok(); };
  }
  const auto arithmetic = gathered.Arithmetic(problem.linears);
  solved.solution = search::SolveSite(*arithmetic, problem, method_.site);
  AWQ_TRY(compute_.Wait());
  return solved;
}

// The group scales of what feeds the site, divided by the site's scale; empty where it has none.
Result<Matrix<float>> SequentialBlock::Divided(const model::SiteRow& site,
                                               const search::HeadTie& tie,
                                               const search::Scale& scale) const {
  if (site.fold == model::Fold::kNorm) return Matrix<float>();
  const auto& producer = stored_.linear(site.producer).quantized;
  if (!producer) return Matrix<float>();
  FoldPlan fold;
  fold.Add(site, scale, tie);
  return DivideRows(producer->scales, fold.rows_of(site.producer));
}

Status SequentialBlock::FoldIntoProducer(const model::SiteRow& site, const search::HeadTie& tie,
                                         const search::Scale& scale) {
  AWQ_ASSIGN(Matrix<float> divided, Divided(site, tie, scale));
  fold_.Add(site, scale, tie);
  if (divided.rows() > 0) stored_.linear(site.producer).quantized->scales = std::move(divided);
  if (site.fold == model::Fold::kRows) return Store(site.producer);
  return StoreNorms();
}

Status SequentialBlock::Store(Role role) {
  const model::Linear& linear = weights_.linear(role);
  StoredLinear& stored = stored_.linear(role);
  if (!plan_.linear(role).quantized()) {
    AWQ_ASSIGN(stored.dense, StoredWeight(pool_, linear, role, fold_));
  }
  AWQ_ASSIGN(stored.bias, StoredBias(linear, role, fold_));
  return prepared_->SetLinear(role, stored);
}

}  // namespace awq::pipeline
