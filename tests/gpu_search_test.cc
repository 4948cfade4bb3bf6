// Sites solved by the GPU's kernels, emulated, beside the same on the CPU.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <random>
#include <utility>
#include <vector>

#include "cuda/emulated_device.h"
#include "quant/group.h"
#include "quant/quantized_linear.h"
#include "search/gpu/site.h"
#include "search/gram_factor.h"
#include "search/site.h"
#include "search/site_host.h"

namespace awq::search {
namespace {

Matrix<float> NormalMatrix(std::size_t rows, std::size_t cols, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Matrix<float> m(rows, cols);
  for (float& x : m.span()) x = normal(random);
  return m;
}

struct Shape {
  std::size_t in = 0;
  std::vector<std::size_t> outs;
  quant::Spec spec;
  bool paired = true;
  bool projected = false;
  bool held_out = true;
  SiteOptions options = {};
  HeadTie tie = {};
};

// The same inputs and weights every time.
struct Site {
  explicit Site(const Shape& shape) : shape_(shape) {
    for (std::size_t i = 0; i < shape.outs.size(); ++i) {
      weights_.push_back(NormalMatrix(shape.outs[i], shape.in, 10 + static_cast<unsigned>(i)));
      views_.push_back(weights_.back());
      clipped_.push_back(i == 0 ? 1 : 0);
    }
    problem_.linears = {views_, shape.spec};
    problem_.clipped = clipped_;
    problem_.tie = shape.tie;
  }

  SiteStatistics Statistics(ThreadPool& pool) const {
    constexpr std::size_t kTokens = 400, kHeldOut = 40;
    Matrix<float> y = NormalMatrix(kTokens, shape_.in, 1);
    for (std::size_t t = 0; t < kTokens; ++t) {
      for (std::size_t i = 3; i < shape_.in; i += 17) y(t, i) *= 9;
      for (std::size_t i = 0; i + 1 < shape_.in; i += 2) y(t, i) += 0.8F * y(t, i + 1);
    }
    Matrix<float> x(kTokens, shape_.in);
    for (std::size_t t = 0; t < kTokens; ++t) {
      for (std::size_t i = 0; i < shape_.in; ++i) {
        x(t, i) = y(t, i) + (shape_.paired ? 0.1F : 0.0F) * y(t, (i + 5) % shape_.in);
      }
    }
    StatisticsAccumulator gathered(shape_.in, Gather::kSequential);
    if (shape_.projected) gathered.Project(views_[0]);
    const MatrixView<const float> from_x = x;
    const MatrixView<const float> from_y = y;
    const std::size_t counted = shape_.held_out ? kTokens - kHeldOut : kTokens;
    const auto targets = [&](std::size_t first, std::size_t count) {
      return shape_.paired ? from_y.Rows(first, count) : MatrixView<const float>();
    };
    if (shape_.paired) {
      gathered.Add(pool, from_x.Rows(0, counted), targets(0, counted));
    } else {
      gathered.Add(pool, from_x.Rows(0, counted));
    }
    if (shape_.held_out) {
      gathered.HoldOut(from_x.Rows(counted, kHeldOut), targets(counted, kHeldOut));
    }
    return std::move(gathered).Finish();
  }

  const Shape& shape_;
  std::vector<Matrix<float>> weights_;
  std::vector<MatrixView<const float>> views_;
  std::vector<std::uint8_t> clipped_;
  SiteProblem problem_;
};

SiteSolution OnGpu(gpu::Queue& queue, ThreadPool& pool, const Site& site) {
  EXPECT_TRUE(gpu::CanHold(site.shape_.spec, site.shape_.in, queue.shared_bytes()));
  gpu::DeviceStatistics statistics = gpu::Uploaded(queue, site.Statistics(pool));
  gpu::DeviceArithmetic arithmetic(queue, site.problem_.linears, statistics);
  return SolveSite(arithmetic, site.problem_, site.shape_.options);
}

// Sums of `in` products of sums of `in` products, on either side: each within (2 in + 2) u of
// sum_ij |d_i H_ij d_j|, which is at most (sum_i |d_i| sqrt(H_ii))^2.
double ExactLossError(const Site& site, const SiteStatistics& statistics, const Scale& scale) {
  const std::size_t in = site.shape_.in;
  const quant::GroupQuantizer quantizer(site.shape_.spec);
  std::vector<float> residual(in);
  double sizes = 0;
  for (const MatrixView<const float>& weights : site.views_) {
    for (std::size_t r = 0; r < weights.rows; ++r) {
      quantizer.ScaledResidual(weights.row(r), scale.data(), in, residual.data());
      double size = 0;
      for (std::size_t i = 0; i < in; ++i) {
        size += std::abs(static_cast<double>(residual[i])) *
                std::sqrt(static_cast<double>(statistics.gram(i, i)));
      }
      sizes += size * size;
    }
  }
  return 2 * static_cast<double>(2 * in + 2) * 0x1p-24 * sizes;
}

std::vector<Shape> Shapes() {
  const quant::Spec four{4, 32, false};
  Shape several{.in = 160, .outs = {12, 5}, .spec = four};
  Shape symmetric{.in = 96, .outs = {10}, .spec = {3, 32, true}, .paired = false};
  Shape projected{.in = 96, .outs = {8}, .spec = {3, 48, false}, .projected = true};
  Shape few{.in = 64, .outs = {10}, .spec = {4, 64, false}, .held_out = false};
  Shape gptq{.in = 128, .outs = {12}, .spec = {4, 128, false}, .options = kGptqOptions};
  Shape tied{.in = 64, .outs = {10}, .spec = four, .tie = {.shared = 2, .head_dim = 16}};
  return {several, symmetric, projected, few, gptq, tied};
}

class GpuSites : public testing::TestWithParam<std::size_t> {};

// The two differ by the roundings of fp32 sums. A code is another one only where a weight lies that
// near the middle between two, and then what feeds back of it moves the codes after it of the same
// row: so rows are the same or nearly as good, and most are the same.
TEST_P(GpuSites, ChooseAsTheCpuDoes) {
  const Shape shape = Shapes()[GetParam()];
  const Site site(shape);
  ThreadPool pool(2);
  cuda::Lane lane;
  lane.Open(0);
  gpu::Queue queue(lane);
  const SiteSolution want = SolveSite(pool, site.problem_, site.Statistics(pool), shape.options);
  const SiteSolution found = OnGpu(queue, pool, site);
  ASSERT_EQ(queue.fault().message, "");
  EXPECT_EQ(found.exponents, want.exponents);
  EXPECT_EQ(found.damping, want.damping);
  ASSERT_EQ(found.scale.size(), want.scale.size());
  for (std::size_t i = 0; i < want.scale.size(); ++i) {
    EXPECT_NEAR(found.scale[i], want.scale[i], want.scale[i] * 0x1p-10F);  // one unit of fp16
  }
  for (std::size_t k = 0; k < want.linears.size(); ++k) {
    const LinearSolution& a = want.linears[k];
    const LinearSolution& b = found.linears[k];
    EXPECT_EQ(b.chosen, a.chosen);
    EXPECT_NEAR(b.correction, a.correction, 1e-3);
    EXPECT_NEAR(b.quality.held_out.chosen, a.quality.held_out.chosen,
                0.02 * a.quality.held_out.chosen);
    EXPECT_NEAR(b.quality.held_out.rtn, a.quality.held_out.rtn, 1e-2 * a.quality.held_out.rtn);
    EXPECT_NEAR(b.quality.energy, a.quality.energy, 1e-2 * a.quality.energy);
    EXPECT_NEAR(b.quality.calibration.chosen, a.quality.calibration.chosen,
                0.02 * a.quality.calibration.chosen);
    std::size_t other_rows = 0;
    for (std::size_t r = 0; r < a.weights.codes.rows(); ++r) {
      other_rows += std::equal(a.weights.codes.row(r), a.weights.codes.row(r) + shape.in,
                               b.weights.codes.row(r))
                        ? 0U
                        : 1U;
    }
    EXPECT_LE(other_rows, a.weights.codes.rows() / 10);
  }
}

INSTANTIATE_TEST_SUITE_P(All, GpuSites, testing::Range(std::size_t{0}, Shapes().size()));

// Step by step: what is the same arithmetic gives the same bits.
TEST(GpuArithmetic, IsTheCpus) {
  const Shape shape = Shapes()[0];
  const Site site(shape);
  ThreadPool pool(2);
  cuda::Lane lane;
  lane.Open(0);
  gpu::Queue queue(lane);
  SiteStatistics here = site.Statistics(pool);
  gpu::DeviceStatistics there = gpu::Uploaded(queue, site.Statistics(pool));
  HostArithmetic host(pool, site.problem_.linears, here);
  gpu::DeviceArithmetic device(queue, site.problem_.linears, there);
  EXPECT_EQ(device.Factor(shape.options), host.Factor(shape.options));
  Scale scale(shape.in);
  for (std::size_t i = 0; i < scale.size(); ++i) scale[i] = 0.5F + static_cast<float>(i % 7) / 4;
  for (const bool clip : {false, true}) {
    const quant::QuantizedLinear want = host.Take(host.RoundToNearest(0, scale, clip));
    const quant::QuantizedLinear found = device.Take(device.RoundToNearest(0, scale, clip));
    EXPECT_TRUE(std::ranges::equal(found.codes.span(), want.codes.span())) << clip;
    EXPECT_TRUE(std::ranges::equal(found.scales.span(), want.scales.span())) << clip;
    EXPECT_TRUE(std::ranges::equal(found.zeros.span(), want.zeros.span())) << clip;
  }
  const std::vector<float> profile = host.TargetProfile();
  const std::vector<float> found_profile = device.TargetProfile();
  for (std::size_t i = 0; i < shape.in; ++i) {
    EXPECT_NEAR(found_profile[i], profile[i], profile[i] * 64 * 0x1p-24F);  // sums of 64 rows
  }
  // The CPU may multiply the sketch in bf16: 2^-9 of each factor, of random sign.
  const std::vector<Scale> candidates = {Scale(shape.in, 1.0F), scale};
  const std::vector<double> want = host.EstimateLosses(candidates);
  const std::vector<double> found = device.EstimateLosses(candidates);
  for (std::size_t k = 0; k < 2; ++k) EXPECT_NEAR(found[k], want[k], 0x1p-8 * want[k]);
  const std::vector<double> exact = host.ExactLosses(candidates);
  const std::vector<double> found_exact = device.ExactLosses(candidates);
  for (std::size_t k = 0; k < 2; ++k) {
    EXPECT_NEAR(found_exact[k], exact[k], ExactLossError(site, here, candidates[k]));
  }
  for (const std::size_t step : {1U, 3U}) {
    const double loss = host.FeedbackLoss(0, step, scale);
    EXPECT_NEAR(device.FeedbackLoss(0, step, scale), loss, 1e-3 * loss);
  }
  EXPECT_EQ(queue.fault().message, "");
}

// Both, of one site.
struct Pair {
  explicit Pair(const Shape& shape)
      : site(shape),
        here(site.Statistics(pool)),
        there(gpu::Uploaded(Queue(), site.Statistics(pool))) {}
  gpu::Queue& Queue() {
    if (!queue) {
      lane.Open(0);
      queue.emplace(lane);
    }
    return *queue;
  }

  ThreadPool pool{2};
  Site site;
  cuda::Lane lane;
  std::optional<gpu::Queue> queue;
  SiteStatistics here;
  gpu::DeviceStatistics there;
};

// More rows than one launch has in a part, and than are refitted at a time.
TEST(GpuArithmetic, IsTheCpusForManyRows) {
  const Shape shape{.in = 16, .outs = {2051}, .spec = {4, 16, false}, .paired = false};
  Pair both(shape);
  HostArithmetic host(both.pool, both.site.problem_.linears, both.here);
  gpu::DeviceArithmetic device(both.Queue(), both.site.problem_.linears, both.there);
  EXPECT_EQ(device.Factor(shape.options), host.Factor(shape.options));
  const std::vector<float> want = host.TargetProfile();
  const std::vector<float> found = device.TargetProfile();
  for (std::size_t i = 0; i < shape.in; ++i)
    EXPECT_NEAR(found[i], want[i], 64 * 0x1p-24F * want[i]);
  const Scale identity(shape.in, 1.0F);
  const RoundedPtr on_host = host.RoundToNearest(0, identity, false);
  const RoundedPtr on_device = device.RoundToNearest(0, identity, false);
  host.Refit(0, identity, *on_host);
  device.Refit(0, identity, *on_device);
  const double error = host.Error(0, *on_host, identity);
  EXPECT_LT(error, 0.999 * host.Error(0, *host.RoundToNearest(0, identity, false), identity));
  EXPECT_NEAR(device.Error(0, *on_device, identity), error, 1e-2 * error);
  const Matrix<float> scales = host.Take(host.Copy(*on_host)).scales;
  const Matrix<float> refitted = device.Take(device.Copy(*on_device)).scales;
  for (std::size_t r = 0; r < scales.rows(); ++r) {
    EXPECT_NEAR(refitted(r, 0), scales(r, 0), 0x1p-10F * scales(r, 0)) << r;  // a unit of fp16
  }
}

// Of a row w that became q: (w - q) M (w - q)^T, and how far off the sums of `in` fp32 products of
// sums of `in` products may be that lead to it (as in ExactLossError).
struct RowLoss {
  double loss = 0, error = 0;
};
RowLoss LossOfRow(const Matrix<double>& metric, const float* w, const float* q) {
  const std::size_t in = metric.cols();
  RowLoss row;
  double size = 0;
  for (std::size_t i = 0; i < in; ++i) {
    const auto d = static_cast<double>(w[i] - q[i]);
    for (std::size_t j = 0; j < in; ++j) {
      row.loss += d * metric(i, j) * static_cast<double>(w[j] - q[j]);
    }
    size += static_cast<double>(std::abs(w[i]) + std::abs(q[i])) * std::sqrt(metric(i, i));
  }
  row.error = static_cast<double>(2 * in + 2) * 0x1p-24 * size * size;
  return row;
}

Matrix<float> Dequantized(const quant::QuantizedLinear& linear) {
  Matrix<float> rows(linear.codes.rows(), linear.codes.cols());
  quant::Dequantize(linear, 0, rows);
  return rows;
}

// The losses of every row decide, also of those that are refitted later, or were copied.
TEST(GpuArithmetic, KeepsTheBetterOfEveryRow) {
  const Shape shape{.in = 16, .outs = {2112}, .spec = {3, 16, false}, .paired = false};
  Pair both(shape);
  gpu::DeviceArithmetic device(both.Queue(), both.site.problem_.linears, both.there);
  const double damping = device.Factor(shape.options);
  const GramFactor factor = FactorGram(both.pool, both.here.gram, damping);
  Matrix<double> metric(shape.in, shape.in);
  for (std::size_t i = 0; i < shape.in; ++i) {
    for (std::size_t j = 0; j < shape.in; ++j) {
      metric(i, j) = static_cast<double>(both.here.gram(i, j) + (i == j ? factor.added[i] : 0));
    }
  }
  const Scale identity(shape.in, 1.0F);
  std::vector<RoundedPtr> attempts = device.RoundTarget(0, identity, true);
  ASSERT_EQ(attempts.size(), 2U);
  for (const RoundedPtr& attempt : attempts) device.Refit(0, identity, *attempt);
  RoundedPtr kept = device.Copy(*attempts[0]);
  device.KeepBetterRows(*device.Copy(*attempts[1]), *kept);
  const Matrix<float> a = Dequantized(device.Take(std::move(attempts[0])));
  const Matrix<float> b = Dequantized(device.Take(std::move(attempts[1])));
  const Matrix<float> of_kept = Dequantized(device.Take(std::move(kept)));
  std::size_t decided = 0;
  for (std::size_t r = 0; r < a.rows(); ++r) {
    const float* const w = both.site.weights_[0].row(r);
    const RowLoss of_a = LossOfRow(metric, w, a.row(r)), of_b = LossOfRow(metric, w, b.row(r));
    if (std::abs(of_a.loss - of_b.loss) <= of_a.error + of_b.error) continue;
    const float* const better = of_a.loss < of_b.loss ? a.row(r) : b.row(r);
    EXPECT_TRUE(std::equal(better, better + shape.in, of_kept.row(r))) << r;
    decided += r >= 2048 ? 1U : 0U;
  }
  EXPECT_GT(decided, 10U);
  EXPECT_EQ(both.Queue().fault().message, "");
}

// What has no factor is damped until it has one.
TEST(GpuArithmetic, DampsAsTheCpuDoes) {
  const Shape shape{.in = 64, .outs = {3}, .spec = {4, 64, false}, .paired = false};
  Pair both(shape);
  HostArithmetic plain(both.pool, both.site.problem_.linears, both.here);
  const double usual = plain.Factor(shape.options);
  const float beyond = 1.5F * std::sqrt(both.here.gram(0, 0) * both.here.gram(1, 1));
  both.here.gram(0, 1) = both.here.gram(1, 0) = beyond;  // no Gram matrix of anything
  both.there.gram = both.Queue().Upload<float>(std::as_const(both.here.gram).span());
  HostArithmetic host(both.pool, both.site.problem_.linears, both.here);
  gpu::DeviceArithmetic device(both.Queue(), both.site.problem_.linears, both.there);
  const double damping = host.Factor(shape.options);
  EXPECT_GT(damping, usual);
  EXPECT_EQ(device.Factor(shape.options), damping);
}

TEST(GpuArithmetic, SaysThatItsMemoryIsFull) {
  const Shape shape = Shapes()[0];
  const Site site(shape);
  ThreadPool pool(2);
  cuda::EmulatedMachine small;
  small.memory_bytes = cuda::CountEmulatedUse().bytes + (std::size_t{1} << 20);
  cuda::SetEmulatedMachine(small);
  {
    cuda::Lane lane;
    lane.Open(0);
    gpu::Queue queue(lane);
    OnGpu(queue, pool, site);  // ends, and is of no use
    EXPECT_EQ(queue.fault().kind, cuda::FaultKind::kOutOfMemory);
  }
  cuda::SetEmulatedMachine({});
}

TEST(GpuArithmetic, SaysWhatItCannotHold) {
  constexpr std::size_t kSmall = 99 << 10, kLarge = 163 << 10;  // of an RTX and of an A100
  for (const std::size_t shared_bytes : {kSmall, kLarge}) {
    EXPECT_TRUE(gpu::CanHold({4, 128, false}, 4096, shared_bytes));
    EXPECT_EQ(gpu::CanHold({4, 4096, false}, 4096, shared_bytes), shared_bytes == kLarge);
    EXPECT_FALSE(gpu::CanHold({4, 8192, false}, 8192, shared_bytes));
    EXPECT_FALSE(gpu::CanHold({4, 6, false}, 96, shared_bytes));
    EXPECT_FALSE(gpu::CanHold({4, 8, false}, 16384, shared_bytes));
  }
}

// The longest groups that a device holds are searched there, one more vector on the CPU.
TEST(GpuArithmetic, ClipsInGroupsAsLongAsTheDeviceHolds) {
  cuda::EmulatedMachine rtx;
  rtx.major = 8;
  rtx.minor = 6;
  cuda::SetEmulatedMachine(rtx);
  for (const std::size_t in : {2528U, 2536U}) {
    const Shape shape{.in = in, .outs = {1}, .spec = {4, in, false}, .paired = false};
    ThreadPool pool(2);
    cuda::Lane lane;
    lane.Open(0);
    gpu::Queue queue(lane);
    EXPECT_EQ(queue.shared_bytes(), 99U << 10);
    ASSERT_EQ(gpu::CanHold(shape.spec, in, queue.shared_bytes()), in == 2528);
    if (in != 2528) continue;
    Site site(shape);
    gpu::DeviceStatistics statistics;
    statistics.mean_abs.assign(in, 1.0F);
    Matrix<float> gram(in, in, 0.0F);
    for (std::size_t i = 0; i < in; ++i) gram(i, i) = 1;
    statistics.gram = queue.Upload<float>(std::as_const(gram).span());
    statistics.sketch.rows = 1;  // not read here
    gpu::DeviceArithmetic device(queue, site.problem_.linears, statistics);
    const Scale identity(in, 1.0F);
    const auto clipped = device.Take(device.RoundToNearest(0, identity, true));
    EXPECT_EQ(queue.fault().message, "");
    const auto full = device.Take(device.RoundToNearest(0, identity, false));
    EXPECT_LT(clipped.scales(0, 0), full.scales(0, 0));
  }
  cuda::SetEmulatedMachine({});
}

}  // namespace
}  // namespace awq::search
